"""F1 score of single labels, averaged over classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fovea.metrics.exact import ExactMetric


class MacroF1(ExactMetric):
    """Average 2 TP / (2 TP + FP + FN) over the classes that truth or prediction show.

    preds are logits (B, C), target (B,). torchmetrics' MulticlassF1Score(average="macro") gives the same by
    way of a matrix (C, C) for every batch; three counts of each class are all that it takes.
    """

    higher_is_better = True
    right: Tensor
    predicted: Tensor
    true: Tensor

    def __init__(self, *, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.add_sums("right", "predicted", "true", size=(num_classes,))

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        guess = preds.argmax(dim=1)
        self.right += self._count(target[guess == target])
        self.predicted += self._count(guess)
        self.true += self._count(target)

    def _count(self, labels: Tensor) -> Tensor:
        return torch.bincount(labels, minlength=self.num_classes)

    def compute(self) -> Tensor:
        """Return the mean, a number in 0…1."""
        total = self.predicted + self.true
        return (2 * self.right / total)[total > 0].mean()
