"""Measure class maps over a whole data set.

preds and target are (B, H, W) int64; 255 in the target is left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from fovea.ops.segmentation import confusion, dice_per_class, iou_per_class, pixel_accuracy

ONE = 2**32  # the unit of a sum of scores: whole numbers, so that the order of images changes no bit


class Confusion(Metric):
    """Sum one matrix of pixels over the data set: row = truth, column = prediction.

    Metrics with this state share it in a `MetricCollection`: the pixels are counted once.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    confusion: Tensor

    def __init__(self, *, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes} must be at least 2: background counts as a class")
        self.num_classes = num_classes
        self.add_state(
            "confusion", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum"
        )

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        # as one image: the matrix of each is not needed here
        self.confusion += confusion(preds.flatten()[None], target.flatten()[None], self.num_classes)[0]

    def compute(self) -> Tensor:
        """Return the counts (K, K)."""
        return self.confusion


class MeanIoU(Confusion):
    """Average TP / (TP + FP + FN) over the classes that truth or prediction show; NaN where there is none."""

    def per_class(self) -> Tensor:
        """Return the IoU (K,) of each class, NaN for absent ones."""
        return iou_per_class(self.confusion)

    def compute(self) -> Tensor:
        """Return the mean, a number in 0…1."""
        return self.per_class().nanmean()


class MeanDice(Confusion):
    """Average 2 TP / (2 TP + FP + FN) over the classes that truth or prediction show; NaN without any."""

    def per_class(self) -> Tensor:
        """Return the Dice coefficient (K,) of each class, NaN for absent ones."""
        return dice_per_class(self.confusion)

    def compute(self) -> Tensor:
        """Return the mean, a number in 0…1."""
        return self.per_class().nanmean()


class PixelAccuracy(Confusion):
    """Count the pixels with the right class, as a share of those that count; NaN without any."""

    def compute(self) -> Tensor:
        """Return the share, a number in 0…1."""
        return pixel_accuracy(self.confusion)


class ThresholdedJaccard(Metric):
    """Average over images the IoU of one class, taken as 0 where it is below `threshold`.

    The measure of the ISIC 2018 challenge, Codella et al. (2019), https://arxiv.org/abs/1902.03368, with
    threshold 0.65. An image where neither truth nor prediction shows the class is left out.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    score: Tensor
    images: Tensor
    limit: Tensor

    def __init__(
        self, *, threshold: float = 0.65, positive: int = 1, num_classes: int = 2, **kw: Any
    ) -> None:
        super().__init__(**kw)
        if not 0 <= threshold <= 1 or not 0 <= positive < num_classes:
            raise ValueError(
                f"threshold={threshold} must lie in 0…1, positive={positive} in 0…{num_classes - 1}"
            )
        self.threshold, self.positive, self.num_classes = threshold, positive, num_classes
        self.add_state("score", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        # A state only so that a MetricCollection never takes two thresholds for one metric.
        self.add_state("limit", torch.tensor([threshold, positive]), dist_reduce_fx="max")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        iou = iou_per_class(confusion(preds, target, self.num_classes))[:, self.positive]  # (B,)
        score = torch.where(iou >= self.threshold, iou, 0.0)
        self.score += (score * ONE).round().long().sum()
        self.images += (~iou.isnan()).sum()

    def compute(self) -> Tensor:
        """Return the mean, a number in 0…1; NaN without any image."""
        return _ratio(self.score, self.images)


def _ratio(score: Tensor, count: Tensor) -> Tensor:
    """Return score / (ONE count) in single precision, by way of double, which not every device has."""
    return (score.cpu().double() / ONE / count.cpu()).float().to(score.device)
