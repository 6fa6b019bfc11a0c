"""Provide AlexNet and its successor ZFNet, which differ in two convolutions.

Krizhevsky et al. (2012), https://papers.nips.cc/paper/4824; Zeiler & Fergus (2014),
https://arxiv.org/abs/1311.2901.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from fovea.models import _he_init
from fovea.models._checks import check_images
from fovea.models._classifier import Classifier


class AlexNet(Classifier):
    """Stack five convolutions, three of them followed by 3x3/2 max pooling, and dense layers.

    Layers are numbered as torchvision's AlexNet numbers them (`features.0` is the first convolution), and
    with `widths` of 64, 192, 384, 256, 256 its weights load. As there, nothing is normalised locally and
    no convolution is split in two groups.

    Args:
        kernel, stride: of the first convolution; AlexNet has 11 and 4, ZFNet 7 and 2, so that its first
            filters are finer and fewer of them are dead or aliased: section 4.1 of the second paper.
        second_stride: of the second convolution, 1 or, in ZFNet, 2: maps from there on have the same size.
        widths: channels of the convolutions.
        hidden: units of the dense layers before the head.
        grid: side of the map that the dense layers see; the last map is averaged to it.
        dropout: rate before each dense layer but the head.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        kernel: int = 11,
        stride: int = 4,
        second_stride: int = 1,
        widths: Sequence[int] = (96, 256, 384, 384, 256),
        hidden: Sequence[int] = (4096, 4096),
        grid: int = 6,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if len(widths) != 5 or min(kernel, stride, second_stride) < 1:
            raise ValueError(
                f"widths={list(widths)}, kernel={kernel}, stride={stride}, second_stride={second_stride}: "
                "give five widths, and sizes of at least 1"
            )
        a, b, c, d, e = widths
        self.num_classes, self.in_channels = num_classes, in_channels
        self.features = nn.Sequential(
            *(nn.Conv2d(in_channels, a, kernel, stride, kernel // 4), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(a, b, 5, second_stride, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(b, c, 3, 1, 1), nn.ReLU()),
            *(nn.Conv2d(c, d, 3, 1, 1), nn.ReLU()),
            *(nn.Conv2d(d, e, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        self.smallest = _smallest(kernel, stride, second_stride)
        self.avgpool = nn.AdaptiveAvgPool2d(grid)
        self.classifier = nn.Sequential()
        self.num_features = e * grid**2
        for units in hidden:
            self.classifier.extend([nn.Dropout(dropout), nn.Linear(self.num_features, units), nn.ReLU()])
            self.num_features = units
        head = nn.Linear(self.num_features, num_classes)
        self.classifier.append(head)
        self.apply(_he_init.fan_in)
        _he_init.calm(head)

    def get_classifier(self) -> nn.Module:
        """Return the layer that maps features to logits."""
        return self.classifier[-1]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Name the parameters of the stages and dense layers, as timm's nets do; the rest is the head."""
        convs = [(rf"^features\.{i}\.", (min(k, 2), k)) for k, i in enumerate((0, 3, 6, 8, 10))]
        count = (len(self.classifier) - 1) // 3
        dense = [(rf"^classifier\.{3 * i + 1}\.", (3 + i, 5 + i)) for i in range(count)]
        return {"blocks": [(name, (place[0],) if coarse else place) for name, place in convs + dense]}

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the last map (B, widths[-1], h, w): 6 x 6 of 224 pixels."""
        check_images(x, net="this AlexNet", channels=self.in_channels, smallest=self.smallest)
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map the last map to logits (B, num_classes), or to what the last layer sees (B, num_features)."""
        x = self.classifier[:-1](self.avgpool(x).flatten(1))
        return x if pre_logits else self.classifier[-1](x)


def _smallest(kernel: int, stride: int, second_stride: int) -> int:
    """Return the smallest side of which the last pooling still has a window."""
    side = 2 * (2 * 1 + 1) + 1  # what enters the second pooling for three pixels at the last: 7
    side = (side - 1) * second_stride + 1  # enters the second convolution, whose border keeps the side
    side = 2 * side + 1  # enters the first pooling
    return (side - 1) * stride + kernel - 2 * (kernel // 4)
