"""Take the last feature map of any net of timm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
        known: Any = self.net.pretrained_cfg
        self.pretrained_cfg = known
        drop_unused(self, size=height_width(image_size or known["input_size"][1:]))

    def group_matcher(self, coarse: bool = False) -> Numbering:
        """Number the layer of each parameter as the net itself does."""
        return matcher({"net": self.net}, coarse=coarse)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map (B, num_features, h, w)."""
        return as_map(self.net.forward_features(x), self.net, size=x.shape[-2:])  # type: ignore[operator]


def as_map(features: Tensor, net: nn.Module, *, size: Sequence[int]) -> Tensor:
    """Bring what `forward_features` of a net gives for images [H, W] to a map (B, C, h, w).

    Raises:
        ValueError: it has no one map, as it gives several or keeps no positions.
    """
    if isinstance(features, Tensor) and features.ndim == 4:
        channels = int(net.num_features)  # type: ignore[arg-type]
        last = features.shape[3] == channels != features.shape[1]  # Swin's are (B, h, w, C)
        return features.permute(0, 3, 1, 2) if last else features
    if not isinstance(features, Tensor) or features.ndim != 3:
        raise ValueError(_no_map(net, "gives no one map of features"))
    count = features.shape[1]  # of tokens (B, N, C): those of classes and registers come first
    grid = _grid(net, count, size)
    if grid is None:
        raise ValueError(_no_map(net, f"gives {count} tokens for {size[0]} × {size[1]} pixels, no grid"))
    return features[:, count - grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)


def _grid(net: nn.Module, count: int, size: Sequence[int]) -> tuple[int, int] | None:
    """Find the rows and columns of tokens: those of the patches, else those with the aspect of the image."""
    stated = getattr(net, "num_prefix_tokens", None)
    patches = getattr(getattr(net, "patch_embed", None), "grid_size", None)
    for prefix in (0, 1) if stated is None else (int(stated),):
        number = count - prefix
        if patches is not None and patches[0] * patches[1] == number:
            return int(patches[0]), int(patches[1])
        if patches is None and number > 0:
            stride = (size[0] * size[1] / number) ** 0.5
            rows, columns = round(size[0] / stride), round(size[1] / stride)
            if rows * columns == number:
                return rows, columns
    return None


def _no_map(net: nn.Module, why: str) -> str:
    known = getattr(net, "pretrained_cfg", None) or {}
    return (
        f"model.name={known.get('architecture') or type(net).__name__} {why}, so that nothing tells where "
        "things are: choose another net, such as resnet18 or vit_tiny_patch16_224"
    )


def _remove(net: nn.Module, module: str, *, name: str) -> None:
    try:
        net.set_submodule(module, nn.Identity(), strict=True)
    except (AttributeError, ValueError) as error:
        known = ", ".join(n for n, _ in net.named_children())
        raise ValueError(f"skip: {name} has no module {module!r}; its parts are {known}") from error
