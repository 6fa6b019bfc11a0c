"""Provide what classifiers share: features, then a head, under the names that timm's nets have."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Classifier(nn.Module):
    """Map images to features, and features to logits; a subclass writes both steps.

    `head` is the last layer unless `get_classifier` says otherwise.
    """

    head: nn.Module

    def get_classifier(self) -> nn.Module:
        """Return the layer that maps features to logits."""
        return self.head

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to features, such as the last map (B, num_features, H', W')."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward_features(x)")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map features to logits (B, num_classes), or to what the last layer sees (B, num_features)."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward_head(x)")

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


class Pooled(Classifier):
    """Average the last feature map, which `stem`, `stages` and perhaps `norm` have made, then classify."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head_drop: nn.Module = nn.Identity()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Name the parameters of the stem and the blocks, as timm's nets do; the rest is the head."""
        blocks = r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"
        last = (99999,)  # the norm joins the last block
        return {"stem": r"^stem", "blocks": [(blocks, None), (r"^norm", last)]}

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Average the map, then give logits (B, num_classes), or what the last layer sees."""
        x = self.pool(x).flatten(1)  # (B, num_features)
        return x if pre_logits else self.get_classifier()(self.head_drop(x))
