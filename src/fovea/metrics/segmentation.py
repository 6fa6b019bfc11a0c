"""Measure class maps over a whole data set.

preds and target are (B, H, W) int64; 255 in the target is left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fovea.metrics.exact import ExactMetric, fixed_mean, to_fixed
from fovea.ops.boundary import boundary_f1
from fovea.ops.segmentation import confusion, dice_per_class, iou_per_class, pixel_accuracy


class Confusion(ExactMetric):
    """Sum one matrix of pixels over the data set: row = truth, column = prediction.

    Metrics of the same `shared_state` count the pixels once: see `tasks.base.collection`.
    """

    higher_is_better = True
    confusion: Tensor

    def __init__(self, *, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes} must be at least 2: background counts as a class")
        self.num_classes = num_classes
        self.add_sums("confusion", size=(num_classes, num_classes))

    @property
    def shared_state(self) -> tuple[str, int]:
        """What the matrix depends on."""
        return "confusion", self.num_classes

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        # as one image: the matrix of each is not needed here
        self.confusion += confusion(preds.flatten()[None], target.flatten()[None], self.num_classes)[0]


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
    """Return the share of correct pixels among those not ignored; NaN without any."""

    def compute(self) -> Tensor:
        """Return the share, a number in 0…1."""
        return pixel_accuracy(self.confusion)


class ThresholdedJaccard(ExactMetric):
    """Average over images the IoU of one class, taken as 0 where it is below `threshold`.

    The measure of the ISIC 2018 challenge, Codella et al. (2019), https://arxiv.org/abs/1902.03368, with
    threshold 0.65. An image where neither truth nor prediction shows the class is left out.
    """

    higher_is_better = True
    score: Tensor
    images: Tensor

    def __init__(
        self, *, threshold: float = 0.65, positive: int = 1, num_classes: int = 2, **kw: Any
    ) -> None:
        super().__init__(**kw)
        if not 0 <= threshold <= 1 or not 0 <= positive < num_classes:
            raise ValueError(
                f"threshold={threshold} must lie in 0…1, positive={positive} in 0…{num_classes - 1}"
            )
        self.threshold, self.positive, self.num_classes = threshold, positive, num_classes
        self.add_sums("score", "images")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        iou = iou_per_class(confusion(preds, target, self.num_classes))[:, self.positive]  # (B,)
        score = torch.where(iou >= self.threshold, iou, 0.0)
        self.score += to_fixed(score).sum()
        self.images += (~iou.isnan()).sum()

    def compute(self) -> Tensor:
        """Return the mean, a number in 0…1; NaN without any image."""
        return fixed_mean(self.score, self.images)


class BoundaryF1(ExactMetric):
    """Average the F1 score of boundaries: preds and target are class maps (B, H, W), 255 in target = ignore.

    Csurka et al. (2013), "What is a good evaluation measure for semantic segmentation?", also the F measure
    of DAVIS, Perazzi et al. (2016): the scores of `ops.boundary.boundary_f1` are averaged over the images
    that show a class, then over classes. A boundary pixel is one of the class beside one of another class
    (DAVIS takes those on either side); it is met within `tolerance` × the diagonal of the image, Euclidean,
    not rounded, at least 1 pixel. NaN where no boundary is known.
    """

    higher_is_better = True
    score: Tensor
    shown: Tensor

    def __init__(self, *, num_classes: int, tolerance: float = 0.0075, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= tolerance <= 0.1:
            raise ValueError(f"tolerance={tolerance} is a share of the diagonal: it must lie in 0…0.1")
        self.num_classes, self.tolerance = num_classes, tolerance
        self.add_sums("score", "shown", size=(num_classes,))

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        found = boundary_f1(preds, target, num_classes=self.num_classes, tolerance=self.tolerance)  # (B, K)
        self.score += to_fixed(found.nan_to_num(0.0)).sum(0)
        self.shown += (~found.isnan()).sum(0)

    def per_class(self) -> Tensor:
        """Return the mean (K,) of each class, NaN for absent ones."""
        return fixed_mean(self.score, self.shown)

    def compute(self) -> Tensor:
        """Return the mean over classes, a number in 0…1."""
        return self.per_class().nanmean()
