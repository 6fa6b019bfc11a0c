"""Provide a small convolutional network for images of 8 pixels and more."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from fovea.models import _he_init
from fovea.models._classifier import Pooled


def conv_block(
    in_channels: int, out_channels: int, *, batch_norm: bool = True, stride: int = 1
) -> nn.Sequential:
    """Stack conv, batch norm and ReLU; a stride divides the side exactly where it is a multiple of it."""
    kernel = max(3, 2 * stride - 1)  # windows overlap, so no pixel is seen by a border tap only
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=not batch_norm),
        nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity(),
        nn.ReLU(),
    )


class CNN(Pooled):
    """Stack stages of 3x3 convolutions, halve the side between stages, average the last map.

    Args:
        widths: channels of each stage; the side of stage i is H / 2^i.
        stage_depth: convolutions in each stage after the first; the first, at full size, has one.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        widths: Sequence[int] = (32, 64, 128),
        stage_depth: int = 2,
        batch_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 1 <= len(widths) <= 4 or stage_depth < 1:
            raise ValueError(
                f"widths={list(widths)}, stage_depth={stage_depth}: give one to four stages "
                "(an 8 pixel image has no fifth) of at least one convolution"
            )
        self.num_classes, self.num_features = num_classes, widths[-1]
        self.stem = conv_block(in_channels, widths[0], batch_norm=batch_norm)
        self.stages = nn.Sequential(
            *(
                self._stage(i, o, depth=stage_depth, batch_norm=batch_norm)
                for i, o in itertools.pairwise(widths)
            )
        )
        self.head_drop = nn.Dropout(dropout)
        self.head = nn.Linear(self.num_features, num_classes)
        self.stem.apply(_he_init.fan_out)
        self.stages.apply(_he_init.fan_out)

    @staticmethod
    def _stage(width_in: int, width: int, *, depth: int, batch_norm: bool) -> nn.Sequential:
        widths = [width_in] + [width] * depth
        convs = (conv_block(i, o, batch_norm=batch_norm) for i, o in itertools.pairwise(widths))
        return nn.Sequential(nn.MaxPool2d(2), *convs)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the last feature map (B, num_features, H / 2^s, W / 2^s)."""
        return self.stages(self.stem(x))
