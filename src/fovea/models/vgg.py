"""Provide VGG nets, full and for small images: Simonyan & Zisserman (2015), https://arxiv.org/abs/1409.1556."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fovea.models import _he_init
from fovea.models._checks import check_images
from fovea.models._classifier import Classifier
from fovea.models._hub import fetch
from fovea.models._weights import adapt_first_conv, load_weights

URL = "https://download.pytorch.org/models/vgg16-397923af.pth"  # torchvision's, ImageNet
STATISTICS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "interpolation": "bilinear"}


class VGG(Classifier):
    """Stack stages of 3x3 convolutions, each ending in 2x2 max pooling, then dense layers.

    `features` and `classifier` number their layers as torchvision's VGG does, also where dropout or batch
    norm joins an activation. For small images see Liu & Deng (2015), doi:10.1109/ACPR.2015.7486599.

    Args:
        depths: convolutions in each stage; (1, 1, 2, 2, 2) is VGG11, (2, 2, 3, 3, 3) is VGG16.
        hidden: units of the dense layers before the head.
        grid: side of the map that the dense layers see; the last map is averaged to it.
        round_up: round odd sides up when halving, so that 28 pixels last for five stages; the published nets
            round down.
        dense_norm: batch norm in the dense layers too.
        dropout: rate after each dense layer.
        pool_dropout: rate before the first dense layer.
        conv_dropout: rate after each convolution of a stage but its last, for each stage; empty: none.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        depths: Sequence[int] = (2, 2, 3, 3, 3),
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        hidden: Sequence[int] = (4096, 4096),
        grid: int = 7,
        round_up: bool = False,
        batch_norm: bool = False,
        dense_norm: bool = False,
        dropout: float = 0.5,
        pool_dropout: float = 0.0,
        conv_dropout: Sequence[float] = (),
    ) -> None:
        super().__init__()
        rates = list(conv_dropout) or [0.0] * len(widths)
        if not len(depths) == len(widths) == len(rates) or not widths or min(depths) < 1:
            raise ValueError(
                f"depths={list(depths)}, widths={list(widths)}, conv_dropout={list(conv_dropout)}: give one "
                "of each for every stage (conv_dropout: or none), and at least one convolution a stage"
            )
        self.num_classes, self.in_channels = num_classes, in_channels
        self.smallest = 2 ** (len(widths) - 1) + 1 if round_up else 2 ** len(widths)
        self.layers: list[tuple[int, str]] = []  # (stage, names of its modules) of each layer below the head
        self.features, self.classifier = nn.Sequential(), nn.Sequential()
        for stage, (depth, width, rate) in enumerate(zip(depths, widths, rates, strict=True)):
            for left in range(depth - 1, -1, -1):
                self._add_conv(stage, in_channels, width, batch_norm=batch_norm, rate=rate if left else 0.0)
                in_channels = width
            self.features.append(nn.MaxPool2d(2, ceil_mode=round_up))
        self.avgpool = nn.AdaptiveAvgPool2d(grid)
        self.pool_drop = nn.Dropout(pool_dropout)
        self.num_features = in_channels * grid**2
        for stage, units in enumerate(hidden, start=len(widths)):
            self._add_dense(stage, units, norm=dense_norm, rate=dropout)
        head = nn.Linear(self.num_features, num_classes)
        self.classifier.append(head)
        self.apply(_init)
        _he_init.calm(head)

    def _add_conv(self, stage: int, i: int, o: int, *, batch_norm: bool, rate: float) -> None:
        start = len(self.features)
        self.features.append(nn.Conv2d(i, o, 3, padding=1))
        if batch_norm:
            self.features.append(nn.BatchNorm2d(o))
        self.features.append(nn.Sequential(nn.ReLU(), nn.Dropout(rate)) if rate else nn.ReLU())
        self.layers.append((stage, rf"features\.(?:{start}|{start + 1})\."))

    def _add_dense(self, stage: int, units: int, *, norm: bool, rate: float) -> None:
        start = len(self.classifier)
        act = nn.Sequential(nn.BatchNorm1d(units), nn.ReLU()) if norm else nn.ReLU()
        self.classifier.extend([nn.Linear(self.num_features, units), act, nn.Dropout(rate)])
        self.layers.append((stage, rf"classifier\.(?:{start}|{start + 1})\."))
        self.num_features = units

    def get_classifier(self) -> nn.Module:
        """Return the layer that maps features to logits."""
        return self.classifier[-1]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Name the parameters of the stages and dense layers, as timm's nets do; the rest is the head."""
        layers = enumerate(self.layers)
        return {"blocks": [(name, (stage,) if coarse else (stage, i)) for i, (stage, name) in layers]}

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the last map (B, widths[-1], H / 2^s, W / 2^s) of s stages."""
        check_images(x, net="this VGG", channels=self.in_channels, smallest=self.smallest)
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map the last map to logits (B, num_classes), or to what the last layer sees (B, num_features)."""
        x = self.classifier[:-1](self.pool_drop(self.avgpool(x).flatten(1)))
        return x if pre_logits else self.classifier[-1](x)


def vgg16(
    *,
    num_classes: int,
    in_channels: int = 3,
    pretrained: bool = False,
    checkpoint: str | None = None,
    dropout: float = 0.5,
) -> VGG:
    """Build VGG16 for images of 32 pixels and more; a `checkpoint` takes the place of ImageNet weights.

    At 1000 classes it has 138,357,544 parameters, and torchvision's weights load as they are.

    Raises:
        ValueError: a checkpoint that does not fit.
        FileNotFoundError: weights that are neither cached nor within reach.
    """
    net = VGG(num_classes=num_classes, in_channels=in_channels, dropout=dropout)
    if pretrained or checkpoint:
        load(net, checkpoint or fetch("vgg16", URL))
    if pretrained and not checkpoint:
        net.pretrained_cfg = STATISTICS  # type: ignore[assignment]
    return net


def load(net: VGG, path: str | Path) -> None:
    """Copy the weights in a file into `net`; the head and the number of colours may differ."""
    head = f"classifier.{len(net.classifier) - 1}"
    prepare = partial(adapt_first_conv, layer="features.0", in_channels=net.in_channels)
    load_weights(net, path, head=[head], prepare=prepare)


def _init(module: nn.Module) -> None:
    """Draw convolutions and dense layers from He et al. (2015)."""
    (_he_init.fan_in if isinstance(module, nn.Linear) else _he_init.fan_out)(module)
