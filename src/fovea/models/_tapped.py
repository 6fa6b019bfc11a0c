"""Record the features of some layers of a frozen net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from fovea.models._inner_nets import drop_unused
from fovea.models.hooks import find, record

DEPTHS = 5


class Tapped(nn.Module):
    """Map images (B, 3, H, W) to the features of the modules at `layers`, dotted paths, each (B, D, N).

    The net never trains: its parameters need no gradient, and it stays in eval mode. What only layers above
    those named use is removed, so that it costs neither time nor space in a checkpoint.

    Raises:
        ValueError: a layer that the net has not, or one whose output is no map of features.
    """

    def __init__(self, *, net: nn.Module, layers: Sequence[str], size: tuple[int, int]) -> None:
        super().__init__()
        for layer in layers:
            find(net, layer)
        self.net, self.layers = net.requires_grad_(False), tuple(layers)
        self.eval()
        if layers:
            drop_unused(self, size=size)
        else:
            self.net = nn.Identity()

    def train(self, mode: bool = True) -> Tapped:
        """Stay in eval mode: running statistics and dropout never change."""
        return super().train(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the features of each layer."""
        with record(self.net, *self.layers) as recorded:
            self.net(x)
        return {layer: self._flat(recorded, layer) for layer in self.layers}

    def _flat(self, recorded: dict[str, Tensor], layer: str) -> Tensor:
        features = recorded.get(layer)
        if features is None or features.ndim not in (3, 4):
            shape = "no tensor" if features is None else f"shape {tuple(features.shape)}"
            raise ValueError(f"layer {layer!r} gives {shape}, no map of features: name another")
        if features.ndim == 3:  # (B, N, D), the tokens of a transformer
            return features.transpose(1, 2)
        if getattr(self.net, "output_fmt", "NCHW") == "NHWC":  # timm's name for Swin's (B, h, w, D)
            features = features.permute(0, 3, 1, 2)
        return features.flatten(2)


def depths(net: nn.Module) -> list[str]:
    """Return up to five layers at several depths, those that timm lists for the net, without the deepest.

    Raises:
        ValueError: a net without such a list; name the layers then.
    """
    info: Any = getattr(net, "feature_info", None)
    modules = dict(net.named_modules())
    known = [entry["module"] for entry in info or () if entry["module"] in modules][:-1]
    if not known:
        raise ValueError(
            f"{type(net).__name__} does not list its layers: name some with model.net.content_layers=[…] "
            "and model.net.style_layers=[…]"
        )
    count = min(DEPTHS, len(known))
    return [known[round(i * (len(known) - 1) / max(1, count - 1))] for i in range(count)]
