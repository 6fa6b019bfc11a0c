"""Provide DenseNet-BC for small images, Huang et al. (2017), https://arxiv.org/abs/1608.06993."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fovea.models import _he_init
from fovea.models._checks import blocks_per_stage, check_images
from fovea.models._classifier import Pooled

SMALLEST = 8  # the last map then has 2x2 pixels
BOTTLENECK = 4  # a layer's 1x1 convolution gives this many times the growth rate


class DenseLayer(nn.Module):
    """Make `growth_rate` channels from all maps before: BN-ReLU-conv 1x1, BN-ReLU-conv 3x3.

    With `memory_efficient` the first half, whose input is the long concatenation, is not kept for the
    backward pass but computed again: Pleiss et al. (2017), https://arxiv.org/abs/1707.06990.
    """

    def __init__(self, *, in_channels: int, growth_rate: int, dropout: float, memory_efficient: bool) -> None:
        super().__init__()
        inner = BOTTLENECK * growth_rate
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, growth_rate, 3, padding=1, bias=False)
        self.drop = nn.Dropout(dropout)
        self.memory_efficient = memory_efficient

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map [(B, C_i, H, W), …] to (B, growth_rate, H, W)."""
        if self.memory_efficient and self.training and torch.is_grad_enabled():
            x = checkpoint(self._squeeze, *maps, use_reentrant=False, context_fn=self._contexts)
        else:
            x = self._squeeze(*maps)
        return self.drop(self.conv2(F.relu(self.norm2(self.drop(x)))))

    def _squeeze(self, *maps: Tensor) -> Tensor:
        return self.conv1(F.relu(self.norm1(torch.cat(maps, dim=1))))  # (B, 4 growth_rate, H, W)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _standing(self.norm1)


@contextmanager
def _standing(norm: nn.BatchNorm2d) -> Iterator[None]:
    """Leave the running statistics as they are: the first computation has counted the batch already."""
    momentum, norm.momentum = norm.momentum, 0.0
    try:
        yield
    finally:
        norm.momentum = momentum
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.sub_(1)


class DenseBlock(nn.Module):
    """Chain dense layers, each of which sees the block's input and what every layer before it made."""

    def __init__(self, *, layers: int, in_channels: int, growth_rate: int, **options: Any) -> None:
        super().__init__()
        for i in range(layers):
            width = in_channels + i * growth_rate
            self.add_module(
                f"denselayer{i + 1}", DenseLayer(in_channels=width, growth_rate=growth_rate, **options)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C + layers growth_rate, H, W)."""
        maps = [x]
        for layer in self.children():
            maps.append(layer(maps))
        return torch.cat(maps, dim=1)


class DenseNet(Pooled):
    """Stack three dense blocks; between them a 1x1 convolution compresses and pooling halves the side.

    Parameters have the names of torchvision's DenseNet, which differs in the stem and has four blocks.

    Args:
        depth: 6 n + 4 layers, such as 40, 100, 190.
        growth_rate: channels k that each layer adds.
        compression: the part θ of the channels that a transition keeps.
        dropout: rate after each convolution but the first; the paper takes 0.2 without augmentation.
        memory_efficient: less memory in training for more computation; see `DenseLayer`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        depth: int = 100,
        growth_rate: int = 12,
        compression: float = 0.5,
        dropout: float = 0.0,
        memory_efficient: bool = False,
    ) -> None:
        super().__init__()
        layers = blocks_per_stage(depth, layers=6, extra=4, net="a DenseNet-BC")
        if not 0 < compression <= 1 or growth_rate < 1:
            raise ValueError(
                f"compression={compression}, growth_rate={growth_rate}: compression is above 0 and up to 1, "
                "growth_rate at least 1"
            )
        self.num_classes, self.in_channels = num_classes, in_channels
        width = 2 * growth_rate
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(in_channels, width, 3, padding=1, bias=False))
        options = {"growth_rate": growth_rate, "dropout": dropout, "memory_efficient": memory_efficient}
        for i in (1, 2, 3):
            block = DenseBlock(layers=layers, in_channels=width, **options)  # type: ignore[arg-type]
            self.features.add_module(f"denseblock{i}", block)
            width += layers * growth_rate
            if i < 3:
                kept = int(width * compression)
                self.features.add_module(f"transition{i}", _transition(width, kept, dropout=dropout))
                width = kept
        self.features.add_module("norm5", nn.BatchNorm2d(width))
        self.act = nn.ReLU()
        self.num_features = width
        self.classifier = nn.Linear(width, num_classes)
        self.apply(_he_init.fan_out)

    def get_classifier(self) -> nn.Module:
        """Return the layer that maps features to logits."""
        return self.classifier

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Name the parameters of the stem and the layers, as timm's nets do; the rest is the head."""
        last = (99999,)  # what joins the layer before it
        if coarse:
            blocks = [(r"^features\.(?:denseblock|transition)(\d+)", None), (r"^features\.norm5", last)]
        else:
            layer = r"^features\.denseblock(\d+)\.denselayer(\d+)"
            blocks = [(layer, None), (r"^features\.transition(\d+)", last), (r"^features\.norm5", last)]
        return {"stem": r"^features\.conv0", "blocks": blocks}

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the last map (B, num_features, H / 4, W / 4), rounded down."""
        check_images(x, net="this DenseNet", channels=self.in_channels, smallest=SMALLEST)
        return self.act(self.features(x))


def _transition(width: int, kept: int, *, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
            conv=nn.Conv2d(width, kept, 1, bias=False),
            drop=nn.Dropout(dropout),
            pool=nn.AvgPool2d(2),
        )
    )
