"""Losses that compare regions as sets: Dice, Jaccard and Tversky.

Logits are (B, K, H, W), or (B, 1, H, W) for class 1 of two; masks (B, H, W) int64, 255 has no influence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fovea.ops.mask_losses import two_classes
from fovea.ops.precision import at_least_single
from fovea.types import IGNORE

# segmentation_models_pytorch divides by all classes, so that the loss shrinks with each that a batch lacks.


def tversky(logits: Tensor, mask: Tensor, *, alpha: float, beta: float, smooth: float = 0.0) -> Tensor:
    """Return 1 - (TP + s) / (TP + alpha FP + beta FN + s), the mean over the classes that the mask shows.

    Salehi et al. (2017), https://arxiv.org/abs/1706.05721, equation 3: TP is the sum of p over the pixels of
    a class, FP over the others, FN that of 1 - p over its pixels, each over the whole batch. With one logit
    only class 1 counts. 0 where the mask shows none.
    """
    logits = at_least_single(logits)
    foreground = int(logits.shape[1] == 1)  # the first class that counts
    probs = two_classes(logits).softmax(dim=1)[:, foreground:]  # (B, C, H, W)
    known = (mask != IGNORE)[:, None]
    classes = torch.arange(foreground, foreground + probs.shape[1], device=mask.device)
    truth = mask[:, None] == classes[:, None, None]
    probs = torch.where(known, probs, 0.0)
    right = torch.where(truth, probs, 0.0).sum((0, 2, 3))  # (C,)
    size, found = truth.sum((0, 2, 3)), probs.sum((0, 2, 3))
    below = right + alpha * (found - right) + beta * (size - right) + smooth
    losses = 1 - (right + smooth) / below.clamp(min=torch.finfo(below.dtype).eps)
    return torch.where(size > 0, losses, 0.0).sum() / (size > 0).sum().clamp(min=1)


@dataclass(frozen=True, kw_only=True)
class Tversky:
    """The Tversky loss, its options and its weight in a sum of losses: a beta above alpha favours recall."""

    weight: float = 1.0
    smooth: float = 0.0
    alpha: float = 0.3
    beta: float = 0.7

    def __post_init__(self) -> None:
        if min(self.alpha, self.beta) < 0 or self.alpha + self.beta == 0:
            raise ValueError(
                f"Tversky: alpha={self.alpha} and beta={self.beta} must be at least 0, not both 0"
            )

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the loss."""
        return tversky(logits, mask, alpha=self.alpha, beta=self.beta, smooth=self.smooth)


@dataclass(frozen=True, kw_only=True)
class Dice(Tversky):
    """Compute 1 - 2 TP / (2 TP + FP + FN): Sudre et al. (2017), https://arxiv.org/abs/1707.03237."""

    alpha: float = field(default=0.5, init=False)
    beta: float = field(default=0.5, init=False)


@dataclass(frozen=True, kw_only=True)
class Jaccard(Tversky):
    """Compute 1 - TP / (TP + FP + FN): Rahman & Wang (2016), the loss 1 - I(X) / U(X), for every class."""

    alpha: float = field(default=1.0, init=False)
    beta: float = field(default=1.0, init=False)
