"""Take the last feature map of any net of timm."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fovea.models._checks import height_width
from fovea.models._inner_nets import Numbering, drop_unused, matcher
from fovea.models.timm import create


class FeatureMap(nn.Module):
    """Map images (B, 3, H, W) to the map (B, num_features, h, w) that the head of `name` would see.

    What only the head used is removed, so that every parameter takes part. Tokens of a transformer are put
    back on their grid, without the class token.

    Args:
        skip: modules that are left out, such as the last pooling of a VGG.
        image_size: the size of the images, for architectures that are built for one.
    """

    def __init__(
        self,
        *,
        name: str,
        pretrained: bool = False,
        checkpoint: str | None = None,
        skip: Sequence[str] = (),
        image_size: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.net = create(
            name=name, num_classes=0, pretrained=pretrained, checkpoint=checkpoint, image_size=image_size
        )
        for module in skip:
            _remove(self.net, module, name=name)
        self.num_features = int(self.net.num_features)  # type: ignore[arg-type]
        self.pretrained_cfg = self.net.pretrained_cfg
        drop_unused(self, size=height_width(image_size or 224))

    def group_matcher(self, coarse: bool = False) -> Numbering:
        """Number the layer of each parameter as the net itself does."""
        return matcher({"net": self.net}, coarse=coarse)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map (B, num_features, h, w)."""
        return as_map(self.net.forward_features(x), self.net)  # type: ignore[operator]


def as_map(features: Tensor, net: nn.Module) -> Tensor:
    """Bring what `forward_features` of a net gives to a map (B, C, h, w)."""
    if features.ndim == 4:
        channels = int(net.num_features)  # type: ignore[arg-type]
        last = features.shape[3] == channels != features.shape[1]  # Swin's are (B, h, w, C)
        return features.permute(0, 3, 1, 2) if last else features
    features = features[:, getattr(net, "num_prefix_tokens", 0) :]  # (B, N, C)
    return features.transpose(1, 2).unflatten(2, net.patch_embed.grid_size)  # type: ignore[union-attr]


def _remove(net: nn.Module, module: str, *, name: str) -> None:
    try:
        net.set_submodule(module, nn.Identity(), strict=True)
    except (AttributeError, ValueError) as error:
        known = ", ".join(n for n, _ in net.named_children())
        raise ValueError(f"skip: {name} has no module {module!r}; its parts are {known}") from error
