"""Provide wide residual nets, Zagoruyko & Komodakis (2016), https://arxiv.org/abs/1605.07146."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fovea.models import _he_init
from fovea.models._checks import blocks_per_stage, check_images
from fovea.models._classifier import Pooled

SMALLEST = 8  # the last map then has 2x2 pixels


class WideUnit(nn.Module):
    """Add two 3x3 convolutions, each after batch norm and ReLU, to their input.

    Where the number of channels changes, the input is projected after its norm and ReLU, as in the authors'
    code. Dropout stands between the convolutions (section 2.4).
    """

    def __init__(self, *, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.drop = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        changes = in_channels != out_channels or stride > 1
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride), rounded up."""
        y = F.relu(self.norm1(x))
        kept = x if self.shortcut is None else self.shortcut(y)
        y = F.relu(self.norm2(self.conv1(y)))
        return kept + self.conv2(self.drop(y))


class WideResNet(Pooled):
    """Stack three stages of pre-activation units with 16 k, 32 k and 64 k channels: WRN-depth-k.

    Args:
        depth: 6 n + 4 layers, such as 16, 28, 40.
        width: the factor k on the channels.
        dropout: rate between the convolutions of a unit; the paper takes 0.3.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        depth: int = 28,
        width: int = 10,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        count = blocks_per_stage(depth, layers=6, extra=4, net="a wide ResNet")
        if width < 1:
            raise ValueError(f"width={width}: the factor on the channels is at least 1")
        self.num_classes, self.num_features, self.in_channels = num_classes, 64 * width, in_channels
        self.stem = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.stages, before = nn.Sequential(), 16
        for stride, channels in ((1, 16 * width), (2, 32 * width), (2, 64 * width)):
            ends = [(before, channels, stride)] + [(channels, channels, 1)] * (count - 1)
            units = (WideUnit(in_channels=i, out_channels=o, stride=s, dropout=dropout) for i, o, s in ends)
            self.stages.append(nn.Sequential(*units))
            before = channels
        self.norm = nn.BatchNorm2d(before)
        self.act = nn.ReLU()
        self.head = nn.Linear(before, num_classes)
        self.apply(_he_init.fan_out)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the last map (B, 64 k, H / 4, W / 4), rounded up."""
        check_images(x, net="a wide ResNet", channels=self.in_channels, smallest=SMALLEST)
        return self.act(self.norm(self.stages(self.stem(x))))
