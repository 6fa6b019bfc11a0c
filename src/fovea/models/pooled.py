"""Give convolutional networks that end in an average and a linear layer what follows their last map."""

from __future__ import annotations

from torch import Tensor, nn


class Pooled(nn.Module):
    """Average the map of `forward_features`, then classify; a subclass also sets the modules named here."""

    head: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head_drop: nn.Module = nn.Identity()

    def get_classifier(self) -> nn.Module:
        """Return the layer that maps features to logits."""
        return self.head

    def forward_features(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the last feature map (B, num_features, H', W')."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward_features(x)")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Average the map, then give logits (B, num_classes), or what the last layer sees."""
        x = self.pool(x).flatten(1)  # (B, num_features)
        return x if pre_logits else self.head(self.head_drop(x))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))
