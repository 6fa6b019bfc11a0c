"""Provide a plain ConvNet of conv, batch norm, noise, ReLU and pooling, with a switch for each."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fovea.models import _he_init
from fovea.models._checks import check_images
from fovea.models._classifier import Classifier


class GaussianNoise(nn.Module):
    """Add noise of standard deviation `std`, in training only."""

    def __init__(self, *, std: float) -> None:
        super().__init__()
        if std < 0:
            raise ValueError(f"noise={std}: a standard deviation is at least 0, and 0 is no noise")
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same shape."""
        return x + self.std * torch.randn_like(x) if self.training and self.std else x

    def extra_repr(self) -> str:
        """Show the standard deviation."""
        return f"std={self.std}"


class ConvNet(Classifier):
    """Stack blocks of 3x3 convolutions, each ending in 2x2 max pooling, then one dense layer and the head.

    Three sizes of it: `widths` 32-64-128-256-512 with `depth` 1; "simple", 32-64-128 with `depth` 1; and
    "deeper", the same with `depth` 2. Parameters keep their names whatever is switched on or off.

    Args:
        widths: channels of each block; odd sides are rounded up, so 28 pixels last for five blocks.
        depth: convolutions in each block.
        hidden: units of the dense layer.
        grid: side of the map that the dense layer sees, larger maps are averaged to it; null: what the blocks
            leave of 32 pixels, so that the maps of 28 and 32 pixels are seen as they are.
        dropout: rate before the dense layer and before the head.
        noise: standard deviation of Gaussian noise on what batch norm gives, or the convolution without it.
            Later batch norms keep the statistics of noisy maps, and a test has no noise: keep it small.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        depth: int = 1,
        hidden: int = 512,
        grid: int | None = None,
        batch_norm: bool = True,
        dropout: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        if not widths or depth < 1:
            raise ValueError(
                f"widths={list(widths)}, depth={depth}: give at least one block of one convolution"
            )
        self.num_classes, self.num_features, self.in_channels = num_classes, hidden, in_channels
        self.smallest = 2 ** (len(widths) - 1) + 1  # then the last pooling still has two pixels
        grid = grid or max(32 // 2 ** len(widths), 1)
        self.stages = nn.Sequential(
            *(
                _block([i] + [o] * depth, batch_norm=batch_norm, noise=noise)
                for i, o in itertools.pairwise([in_channels, *widths])
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.dense_drop = nn.Dropout(dropout)
        self.dense = nn.Linear(widths[-1] * grid**2, hidden)
        self.dense_act = nn.ReLU()
        self.head_drop = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, num_classes)
        self.apply(_he_init.fan_in)
        _he_init.calm(self.head)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Name the parameters of the blocks and the dense layer, as timm's nets do."""
        return {"blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)", "dense": r"^dense"}

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the last map (B, widths[-1], H / 2^b, W / 2^b) of b blocks, rounded up."""
        check_images(x, net="ConvNet", channels=self.in_channels, smallest=self.smallest)
        return self.stages(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map the last map to logits (B, num_classes), or to the dense layer's units (B, hidden)."""
        x = self.dense_drop(self.pool(x).flatten(1))
        x = self.dense_act(self.dense(x))
        return x if pre_logits else self.head(self.head_drop(x))


def _block(widths: Sequence[int], *, batch_norm: bool, noise: float) -> nn.Sequential:
    convs = (
        nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(i, o, 3, padding=1, bias=not batch_norm),
                norm=nn.BatchNorm2d(o) if batch_norm else nn.Identity(),
                noise=GaussianNoise(std=noise),
                act=nn.ReLU(),
            )
        )
        for i, o in itertools.pairwise(widths)
    )
    return nn.Sequential(*convs, nn.MaxPool2d(2, ceil_mode=True))
