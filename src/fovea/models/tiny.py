"""Provide a residual network of fewer than 100,000 parameters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from fovea.models._classifier import Pooled


def _conv(width_in: int, width: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(width_in, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(width))


def _separable(width_in: int, width: int, *, stride: int = 1) -> nn.Sequential:
    """Filter each channel, then mix them (Howard et al. 2017, arXiv:1704.04861)."""
    depthwise = _conv(width_in, width_in, stride=stride, groups=width_in)
    return nn.Sequential(depthwise, nn.ReLU(inplace=True), _conv(width_in, width, kernel=1))


class ResidualBlock(nn.Module):
    """Add two 3×3 convolutions to what comes in (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, width_in: int, width: int, *, stride: int, separable: bool) -> None:
        super().__init__()
        conv = _separable if separable else _conv
        second = conv(width, width)
        self.body = nn.Sequential(conv(width_in, width, stride=stride), nn.ReLU(inplace=True), second)
        same = stride == 1 and width_in == width
        self.shortcut = nn.Identity() if same else _conv(width_in, width, kernel=1, stride=stride)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width_in, H, W) to (B, width, H / stride, W / stride)."""
        return self.act(self.body(x) + self.shortcut(x))


class Tiny(Pooled):
    """Stack residual blocks whose side halves from stage to stage, and average the last map.

    Args:
        widths: channels of each stage; the first is also that of the stem.
        depths: blocks in each stage.
        separable: whether convolutions are depthwise separable, which allows twice the width.
        stem_stride: 2 for images of 64 pixels and more.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        widths: Sequence[int] = (16, 32, 56),
        depths: Sequence[int] = (1, 2, 1),
        separable: bool = False,
        stem_stride: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(widths) != len(depths) or not widths or min(depths) < 1:
            raise ValueError(f"widths={list(widths)} and depths={list(depths)} must name the same stages")
        self.num_classes, self.num_features = num_classes, widths[-1]
        self.stem = nn.Sequential(_conv(in_channels, widths[0], stride=stem_stride), nn.ReLU(inplace=True))
        steps = zip(itertools.pairwise([widths[0], *widths]), depths, strict=True)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    ResidualBlock(i, o, stride=1 if number == 0 else 2, separable=separable),
                    *(ResidualBlock(o, o, stride=1, separable=separable) for _ in range(depth - 1)),
                )
                for number, ((i, o), depth) in enumerate(steps)
            )
        )
        self.head_drop = nn.Dropout(dropout)
        self.head = nn.Linear(self.num_features, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the last feature map (B, num_features, H', W')."""
        return self.stages(self.stem(x))
