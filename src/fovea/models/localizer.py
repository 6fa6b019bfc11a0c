"""Provide a classifier with a second head, for one box around the object."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fovea.models._checks import height_width
from fovea.models._classifier import Classifier
from fovea.models._inner_nets import Numbering, matcher
from fovea.models.feature_map import as_map


class Localizer(nn.Module):
    """Give the logits of an image and one box, both from the features of a classifier.

    The output is (B, K + 4): K logits, then x1 y1 x2 y2 as shares of the width and the height, by a sigmoid.
    The head of the box is Linear–ReLU–Linear–ReLU–Linear. It sees the last feature map, since the mean over
    positions that most classifiers take no longer says where things are; a wide map is brought to fewer
    channels first, or the first steps of an optimizer such as Adam change the sum over all of its numbers so
    much that the head's units never recover.

    Args:
        backbone: a classifier of this suite or of timm, with its head for `num_classes`.
        hidden: units of the hidden layers of the box head.
        grid: the map is averaged to grid × grid positions for the box head.
        channels: the map is brought to, if it has more.
        image_size: of the images, to find the size of the map.
    """

    task = "localization"  # what it is for

    def __init__(
        self,
        *,
        backbone: nn.Module,
        num_classes: int,
        in_channels: int = 3,
        hidden: Sequence[int] = (128, 64),
        grid: int = 4,
        channels: int = 64,
        image_size: int | Sequence[int] = 224,
    ) -> None:
        super().__init__()
        if not callable(getattr(backbone, "forward_features", None)):
            raise ValueError(
                f"model.net.backbone: a {type(backbone).__name__} has no forward_features, so that no box "
                "can be found from its features: choose a classifier, such as fovea.models.timm.create"
            )
        self.net: Classifier = backbone  # type: ignore[assignment]
        self.num_classes = num_classes
        self.pretrained_cfg = getattr(backbone, "pretrained_cfg", None)
        found = _channels(self.net, in_channels, height_width(image_size))
        layers: list[nn.Module] = [nn.Conv2d(found, channels, 1)] if found > channels else []
        layers += [nn.AdaptiveAvgPool2d(grid), nn.Flatten()]
        widths = [min(found, channels) * grid**2, *hidden]
        for i, o in itertools.pairwise(widths):
            layers += [nn.Linear(i, o), nn.ReLU()]
        self.box_head = nn.Sequential(*layers, nn.Linear(widths[-1], 4), nn.Sigmoid())

    def get_classifier(self) -> tuple[nn.Module, ...]:
        """Return both heads: what fine-tuning calls the head."""
        return self.net.get_classifier(), self.box_head

    def group_matcher(self, coarse: bool = False) -> Numbering:
        """Number the layer of each parameter as the classifier does; the box head is the head."""
        return matcher({"net": self.net}, coarse=coarse)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits and box (B, K + 4)."""
        features = self.net.forward_features(x)
        box = self.box_head(as_map(features, self.net, size=x.shape[-2:]))
        return torch.cat([self.net.forward_head(features), box], dim=1)


def _channels(net: Classifier, in_channels: int, size: tuple[int, int]) -> int:
    training, image = net.training, torch.zeros(1, in_channels, *size)
    with torch.no_grad():
        found = as_map(net.eval().forward_features(image), net, size=size)
    net.train(training)
    return found.shape[1]
