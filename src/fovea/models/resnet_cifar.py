"""Provide residual nets for small images, He et al. (2016), https://arxiv.org/abs/1512.03385, section 4.2."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fovea.models import _he_init
from fovea.models._checks import blocks_per_stage, check_images
from fovea.models._classifier import Pooled

SMALLEST = 8  # the last map then has 2x2 pixels


class PadShortcut(nn.Module):
    """Take every `stride`-th pixel and fill new channels with zeros: option A of the paper."""

    def __init__(self, *, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C + new_channels, H / stride, W / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


class ResidualUnit(nn.Module):
    """Add a few convolutions, each with batch norm and ReLU, to their input.

    With norm and ReLU after each convolution (post-activation) the last ReLU follows the sum. Before them
    (pre-activation, He et al. 2016b, https://arxiv.org/abs/1603.05027) the sum is left alone; a projection
    then shares the first norm and ReLU with the convolutions, as in the authors' code.

    Args:
        widths: channels of the input and of each convolution's output.
        kernels: side of each convolution; the first has the stride.
        projection: a 1x1 convolution where the shape changes (option B), else `PadShortcut`.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        kernels: Sequence[int],
        stride: int,
        pre_activation: bool,
        projection: bool,
    ) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        strides = [stride] + [1] * (len(pairs) - 1)
        self.pre_activation = pre_activation
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, k, s, k // 2, bias=False)
            for (i, o), k, s in zip(pairs, kernels, strides, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(i if pre_activation else o) for i, o in pairs)
        new = widths[-1] - widths[0]
        self.shares = projection and (stride > 1 or new != 0)
        self.shortcut: nn.Module = nn.Identity()
        if self.shares:
            conv = nn.Conv2d(widths[0], widths[-1], 1, stride, bias=False)
            self.shortcut = conv if pre_activation else nn.Sequential(conv, nn.BatchNorm2d(widths[-1]))
        elif stride > 1 or new:
            self.shortcut = PadShortcut(new_channels=new, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, widths[0], H, W) to (B, widths[-1], H / stride, W / stride), rounded up."""
        return self._pre(x) if self.pre_activation else self._post(x)

    def _post(self, x: Tensor) -> Tensor:
        y, last = x, len(self.convs) - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            y = F.relu(y) if i < last else y
        return F.relu(y + self.shortcut(x))

    def _pre(self, x: Tensor) -> Tensor:
        y = F.relu(self.norms[0](x))
        kept = self.shortcut(y if self.shares else x)
        y = self.convs[0](y)
        for conv, norm in zip(self.convs[1:], self.norms[1:], strict=True):
            y = conv(F.relu(norm(y)))
        return kept + y


class ResNet(Pooled):
    """Stack three stages of residual units with 16, 32 and 64 channels, and average the last map.

    Args:
        depth: 6 n + 2 layers, such as 20, 32, 56, 110; with `bottleneck` 9 n + 2, such as 47, 164.
        bottleneck: units of 1x1, 3x3 and 1x1 convolutions that end in four times the channels.
        pre_activation, projection: see `ResidualUnit`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        depth: int = 32,
        widths: Sequence[int] = (16, 32, 64),
        bottleneck: bool = False,
        pre_activation: bool = False,
        projection: bool = False,
    ) -> None:
        super().__init__()
        name = "a bottleneck ResNet" if bottleneck else "this ResNet"
        count = blocks_per_stage(depth, layers=9 if bottleneck else 6, extra=2, net=name)
        self.num_classes, self.in_channels = num_classes, in_channels
        self.num_features = (4 if bottleneck else 1) * widths[-1]
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.stem_norm = nn.Identity() if pre_activation else nn.BatchNorm2d(widths[0])
        self.stem_act = nn.Identity() if pre_activation else nn.ReLU()
        self.stages = nn.Sequential()
        before, options = widths[0], {"pre_activation": pre_activation, "projection": projection}
        for i, width in enumerate(widths):
            shape = [width, width, 4 * width] if bottleneck else [width, width]
            self.stages.append(_stage(before, shape, units=count, stride=2 if i else 1, **options))
            before = shape[-1]
        self.norm = nn.BatchNorm2d(before) if pre_activation else nn.Identity()
        self.act = nn.ReLU() if pre_activation else nn.Identity()
        self.head = nn.Linear(self.num_features, num_classes)
        self.apply(_he_init.fan_out)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the last map (B, num_features, H / 4, W / 4), rounded up."""
        check_images(x, net="this ResNet", channels=self.in_channels, smallest=SMALLEST)
        x = self.stem_act(self.stem_norm(self.stem(x)))
        return self.act(self.norm(self.stages(x)))


def _stage(before: int, shape: list[int], *, units: int, stride: int, **options: bool) -> nn.Sequential:
    kernels = (1, 3, 1) if len(shape) == 3 else (3, 3)
    ends = [(before, stride)] + [(shape[-1], 1)] * (units - 1)
    return nn.Sequential(
        *(ResidualUnit(widths=[i, *shape], kernels=kernels, stride=s, **options) for i, s in ends)
    )
