"""Losses that are a mean over pixels: cross-entropy and focal loss.

Logits are (B, K, H, W), or (B, 1, H, W) for class 1 of two; masks (B, H, W) int64, 255 has no influence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fovea.ops.precision import at_least_single
from fovea.types import IGNORE

# segmentation_models_pytorch has these losses too, but its focal loss of several classes takes each for a
# sigmoid of its own, and a batch where all is ignored gives NaN, as it does with torch's mean.


def two_classes(logits: Tensor) -> Tensor:
    """Return logits (B, K, H, W) with K > 1: a single one beside 0, whose softmax is its sigmoid."""
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def cross_entropy(
    logits: Tensor, mask: Tensor, *, class_weights: Sequence[float] | str | None = None
) -> Tensor:
    """Return the mean over pixels of -w_y log p_y, 0 where all is ignored.

    Unlike torch's own mean, a weighted one is divided by the number of pixels, not by the sum of their
    weights, as in `ops.losses`.
    """
    logits = two_classes(at_least_single(logits))
    losses = F.cross_entropy(
        logits, mask, weight=_weights(class_weights, logits), ignore_index=IGNORE, reduction="none"
    )
    return losses.sum() / (mask != IGNORE).sum().clamp(min=1)


def focal(
    logits: Tensor, mask: Tensor, *, gamma: float = 2.0, class_weights: Sequence[float] | str | None = None
) -> Tensor:
    """Return the mean over pixels of -w_y (1 - p_y)^gamma log p_y, 0 where all is ignored.

    Lin et al. (2017), https://arxiv.org/abs/1708.02002, equation 5, with softmax where there are more than
    two classes; the paper's alpha for two classes is `class_weights` [1 - alpha, alpha].
    """
    logits = two_classes(at_least_single(logits))
    losses = F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="none")  # (B, H, W)
    wrong = -torch.expm1(-losses)  # 1 - p without cancellation
    losses = losses * wrong.clamp(min=torch.finfo(wrong.dtype).tiny) ** gamma  # for gamma < 1, 0 has no slope
    if (weights := _weights(class_weights, logits)) is not None:
        losses = losses * weights[mask.clamp(max=len(weights) - 1)]
    return losses.sum() / (mask != IGNORE).sum().clamp(min=1)


def check_class_weights(given: object) -> None:
    """Raise ValueError unless there are no weights, balanced ones, or a usable list."""
    if given is None or given == "balanced":
        return
    try:
        weights = [float(weight) for weight in given]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        weights = []
    if isinstance(given, str) or not weights or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise ValueError(
            f"class_weights={given!r} must be balanced, or a number of at least 0 for each class, not all 0"
        )


def _weights(given: Sequence[float] | str | None, logits: Tensor) -> Tensor | None:
    if given is None:
        return None
    if isinstance(given, str):
        raise ValueError(f"class_weights={given} needs the training images: give one number per class")
    if len(given) != logits.shape[1]:
        raise ValueError(f"class_weights has {len(given)} numbers for {logits.shape[1]} classes")
    return torch.tensor(given, dtype=logits.dtype, device=logits.device)


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """The cross-entropy over pixels with its options and its weight in a sum of losses."""

    weight: float = 1.0
    class_weights: Sequence[float] | str | None = None

    def __post_init__(self) -> None:
        check_class_weights(self.class_weights)

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the loss."""
        return cross_entropy(logits, mask, class_weights=self.class_weights)


@dataclass(frozen=True, kw_only=True)
class Focal:
    """The focal loss over pixels with its options and its weight in a sum of losses."""

    weight: float = 1.0
    gamma: float = 2.0
    class_weights: Sequence[float] | str | None = None

    def __post_init__(self) -> None:
        check_class_weights(self.class_weights)
        if self.gamma < 0:
            raise ValueError(f"Focal: gamma={self.gamma} must be at least 0; 0 is cross-entropy")

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the loss."""
        return focal(logits, mask, gamma=self.gamma, class_weights=self.class_weights)
