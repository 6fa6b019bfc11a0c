"""Provide a multilayer perceptron over flattened pixels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor, nn

from fovea.models._checks import height_width
from fovea.models._classifier import Classifier


class MLP(Classifier):
    """Stack linear-ReLU-dropout layers on the flattened image.

    Args:
        image_size: one side of a square image, or [H, W].
        hidden: width of each hidden layer; empty is softmax regression.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 28,
        hidden: Sequence[int] = (64, 128, 64),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_shape = (in_channels, *height_width(image_size))
        widths = [prod(self.input_shape), *hidden]
        if min(widths) < 1:
            raise ValueError(f"every layer needs at least one unit, got widths {widths}: raise `hidden`")
        self.num_classes, self.num_features = num_classes, widths[-1]
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(i, o), nn.ReLU(), nn.Dropout(dropout))
                for i, o in itertools.pairwise(widths)
            )
        )
        self.head = nn.Linear(self.num_features, num_classes)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Name the parameters of the stem and the blocks, as timm's nets do; the rest is the head."""
        return {"blocks": r"^blocks\.(\d+)"}

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, num_features)."""
        if tuple(x.shape[1:]) != self.input_shape:
            raise ValueError(
                f"this MLP takes images of shape {self.input_shape}, got {tuple(x.shape[1:])}: "
                "set model.net.image_size and model.net.in_channels to what the data gives"
            )
        return self.blocks(x.flatten(1))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map features to logits (B, num_classes), or return what the last layer sees."""
        return x if pre_logits else self.head(x)
