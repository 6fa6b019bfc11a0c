"""Provide LeNet-5, LeCun et al. (1998), doi:10.1109/5.726791, as published or with today's layers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.models import _he_init
from fovea.models._checks import check_images
from fovea.models._classifier import Classifier

SIDE, SMALLEST = 32, 16
TABLE = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class Squash(nn.Module):
    """Apply 1.7159 tanh(2 x / 3), which maps ±1 to ±1: appendix A of the paper."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same shape."""
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """Sum 2x2 pixels, scale and shift each channel by learnt numbers, and squash: layers S2 and S4."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 0.5))  # 1 / sqrt(fan-in)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.act = Squash()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, channels, H / 2, W / 2)."""
        x = 4 * F.avg_pool2d(x, 2)
        return self.act(x * self.weight[:, None, None] + self.bias[:, None, None])


class TableConv(nn.Module):
    """Convolve 6 channels to 16, each of which sees those that Table I of the paper gives it: layer C3."""

    def __init__(self) -> None:
        super().__init__()
        pairs = [(o, i) for o, inputs in enumerate(TABLE) for i in inputs]
        self.weight, self.bias = nn.Parameter(torch.empty(len(pairs), 5, 5)), nn.Parameter(torch.zeros(16))
        self.index: Tensor
        self.register_buffer("index", torch.tensor([6 * o + i for o, i in pairs]), persistent=False)
        deviations = torch.tensor([(25 * len(TABLE[o])) ** -0.5 for o, _ in pairs]).view(-1, 1, 1)
        with torch.no_grad():
            self.weight.copy_(torch.randn_like(self.weight) * deviations)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 6, H, W) to (B, 16, H - 4, W - 4)."""
        dense = self.weight.new_zeros(96, 5, 5).index_copy(0, self.index, self.weight)
        return F.conv2d(x, dense.view(16, 6, 5, 5), self.bias)


class LeNet(Classifier):
    """Stack LeNet-5's layers C1, S2, C3, S4, C5 and F6, named as in the paper.

    The paper's images have 32 pixels. Smaller ones, down to 16, get a border of zeros; of larger ones the
    last map is averaged to the 5x5 that C5 takes. The head is linear; the paper compares F6 with pictures.

    Args:
        modern: ReLU and max pooling, and C3 sees all of S2; false: the paper's squashing, learnt subsampling
            and connection table, 60,000 parameters below the head.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, modern: bool = True) -> None:
        super().__init__()
        self.num_classes, self.num_features, self.in_channels = num_classes, 84, in_channels
        self.act: nn.Module = nn.ReLU() if modern else Squash()
        self.c1 = nn.Conv2d(in_channels, 6, 5)
        self.s2: nn.Module = nn.MaxPool2d(2) if modern else Subsampling(channels=6)
        self.c3: nn.Module = nn.Conv2d(6, 16, 5) if modern else TableConv()
        self.s4: nn.Module = nn.MaxPool2d(2) if modern else Subsampling(channels=16)
        self.pool = nn.AdaptiveAvgPool2d(5)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.head = nn.Linear(84, num_classes)
        self.apply(_he_init.fan_in if modern else _init_classic)
        if modern:
            _he_init.calm(self.head)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Name the parameters of the stages, as timm's nets do; the rest is the head."""
        stages = (r"^[cs][12]\.", r"^[cs][34]\.", r"^c5\.", r"^f6\.")
        return {"blocks": [(stage, (i,)) for i, stage in enumerate(stages)]}

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the map of S4: (B, 16, 5, 5) for images of up to 32 pixels."""
        check_images(x, net="LeNet", channels=self.in_channels, smallest=SMALLEST)
        (top, bottom), (left, right) = (_border(side) for side in x.shape[-2:])
        x = F.pad(x, (left, right, top, bottom))  # (B, C, >= 32, >= 32)
        x = self.s2(self.act(self.c1(x)))  # (B, 6, 14, 14)
        return self.s4(self.act(self.c3(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map the features to logits (B, num_classes), or to F6 (B, 84)."""
        x = self.act(self.c5(self.pool(x))).flatten(1)  # (B, 120)
        x = self.act(self.f6(x))
        return x if pre_logits else self.head(x)


def _border(side: int) -> tuple[int, int]:
    missing = max(SIDE - side, 0)
    return missing // 2, missing - missing // 2


def _init_classic(module: nn.Module) -> None:
    """Draw with deviation 1 / sqrt(fan-in): LeCun et al. (1998), Efficient BackProp, section 4.6.

    From the ±2.4 / fan-in of appendix A, SGD with one step size for all weights hardly starts.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
