"""Take the maps at several strides of any net of timm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fovea.models._checks import height_width
from fovea.models._inner_nets import layer_numbers
from fovea.models.timm import create

STRIDES = (8, 16, 32)


class StridedMaps(nn.Module):
    """Map images (B, C, H, W) to maps at strides 8, 16 and 32, the last of net `name` at each.

    `channels` has their widths by stride. H and W are multiples of 32; `size` has them for a net that takes
    images of one size only, else None.

    Args:
        name: as `fovea.models.timm.create` takes it.
        checkpoint: a file of the whole net's weights.
        image_size: the size of the images, for architectures that are built for one.
    """

    def __init__(
        self,
        *,
        name: str,
        in_channels: int = 3,
        pretrained: bool = False,
        checkpoint: str | None = None,
        image_size: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        import timm

        size = fixed_size(name, image_size)
        options = {"in_channels": in_channels, "pretrained": pretrained, "checkpoint": checkpoint}
        whole = whole_net(name, image_size=size, **options)  # type: ignore[arg-type]
        base = name.partition(".")[0]
        net: Any = timm.create_model(
            base,
            features_only=True,
            in_chans=in_channels,
            out_indices=_indices(base),
            **({"img_size": size} if size else {}),  # type: ignore[arg-type]
        )
        self.net = net
        known: Any = whole.pretrained_cfg
        self.size = size or fixed_size(name, known["input_size"][1:])
        self.channels = dict(zip(STRIDES, net.feature_info.channels(), strict=True))
        self.pretrained_cfg = known
        copy_values(whole, net)
        self._numbers = numbers(whole, net)

    def group_matcher(self, coarse: bool = False) -> Callable[[str], float]:
        """Number the layer of each parameter as the whole net does."""
        found = self._numbers[coarse]
        return lambda name: float(found[name.removeprefix("net.")])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return (B, channels[s], H / s, W / s) for s = 8, 16, 32."""
        try:
            maps = self.net(x)
        except (AssertionError, RuntimeError) as error:
            if self.size in (None, tuple(x.shape[2:])) or isinstance(error, torch.OutOfMemoryError):
                raise
            raise ValueError(
                f"this backbone is built for images of {list(self.size)} pixels and got {list(x.shape[2:])}: "
                f"set data.image_size to multiples of {STRIDES[-1]}, or choose another, such as resnet18"
            ) from error
        last = getattr(self.net, "output_fmt", None) == "NHWC"
        return [m.permute(0, 3, 1, 2) for m in maps] if last else list(maps)


def fixed_size(name: str, image_size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Return the multiples of 32 that hold images of this size, if net `name` is built for one size."""
    import timm

    config = timm.get_pretrained_cfg(name.partition(".")[0])
    if image_size is None or config is None or not config.fixed_input_size:
        return None
    height, width = height_width(image_size)
    return height + -height % STRIDES[-1], width + -width % STRIDES[-1]


def whole_net(name: str, *, pretrained: bool, checkpoint: str | None, **options: Any) -> nn.Module:
    """Build timm's net without its head; it has values only where weights were asked for."""
    with torch.device("cpu" if pretrained or checkpoint else "meta"):
        return create(name=name, num_classes=0, pretrained=pretrained, checkpoint=checkpoint, **options)


def copy_values(whole: nn.Module, part: nn.Module) -> None:
    """Copy the tensors of a net into timm's features-only net of the same architecture, if it has values."""
    state = whole.state_dict()
    if any(v.is_meta for v in state.values()):
        return
    names = _names(state, part.state_dict())
    part.load_state_dict({own: state[name] for own, name in names.items()})


def numbers(whole: nn.Module, part: nn.Module) -> dict[bool, dict[str, int]]:
    """Number the layers (for True the stages) of each parameter of `part` as its whole net does."""
    names = _names(dict(whole.named_parameters()), dict(part.named_parameters()))
    layers = {coarse: layer_numbers(whole, coarse=coarse) for coarse in (True, False)}
    return {coarse: {own: layers[coarse][name] for own, name in names.items()} for coarse in layers}


def _names(whole: dict[str, Any], part: dict[str, Any]) -> dict[str, str]:
    """Map each name of the part to the whole's: timm makes `stages_0` of `stages.0`, or adds `model.`."""
    flat = {name.replace(".", "_"): name for name in whole}
    found = {own: flat.get(own.removeprefix("model.").replace(".", "_"), "") for own in part}
    if missing := [own for own, name in found.items() if not name]:
        raise ValueError(
            f"{missing[0]} and {len(missing) - 1} more tensors of the encoder are not in its net: choose "
            "another encoder, such as resnet18 or mobilenetv2_100"
        )
    return found


def _indices(name: str) -> Sequence[int]:
    """Return the numbers of the last maps at strides 8, 16 and 32."""
    import timm

    with torch.device("meta"):
        net: Any = timm.create_model(name, features_only=True)
    reductions = list(net.feature_info.reduction())
    if not set(STRIDES) <= set(reductions):
        raise ValueError(
            f"{name} has maps at strides {reductions}, not at {list(STRIDES)}: choose a net that has, such "
            "as resnet18 or mobilenetv2_100"
        )
    return [len(reductions) - 1 - reductions[::-1].index(stride) for stride in STRIDES]
