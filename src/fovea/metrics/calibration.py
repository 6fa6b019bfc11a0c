"""Measure the calibration of a classifier: how far its confidence is from its accuracy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fovea.metrics.exact import FIXED_POINT, ExactMetric, to_fixed


class CalibrationError(ExactMetric):
    """Average |accuracy - confidence| over bins of equal width: preds are logits (B, C), target (B,).

    The expected calibration error, Guo et al. (2017), https://arxiv.org/abs/1706.04599, equation 3; the bins
    are (0, 1/n], (1/n, 2/n], … The confidence is the probability of the predicted class. Sums are whole
    numbers, so that the result does not depend on how images are shared out among batches and processes;
    torchmetrics' own metric keeps every confidence, and takes logits that happen to lie in 0…1 for
    probabilities.
    """

    higher_is_better = False
    images: Tensor
    correct: Tensor
    confidence: Tensor

    def __init__(self, *, bins: int = 15, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if bins < 1:
            raise ValueError(f"bins={bins} must be at least 1")
        self.bins = bins
        self.add_sums("images", "correct", "confidence", size=(bins,))

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch; an image with NaN among its logits is left out."""
        confidence, guess = preds.float().softmax(dim=1).max(dim=1)  # (B,)
        known = confidence.isfinite()
        confidence = torch.where(known, confidence, 0.0)
        place = (confidence * self.bins).ceil().long().clamp(1, self.bins) - 1
        columns = {
            "images": known.long(),
            "correct": ((guess == target) & known).long(),
            "confidence": to_fixed(confidence),
        }
        for name, values in columns.items():
            setattr(self, name, getattr(self, name).scatter_add(0, place, values))

    def compute(self) -> Tensor:
        """Return the error, a number in 0…1."""
        images, correct, confidence = (x.cpu().double() for x in (self.images, self.correct, self.confidence))
        error = (correct - confidence / FIXED_POINT).abs().sum() / images.sum()
        return error.float().to(self.images.device)
