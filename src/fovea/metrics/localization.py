"""Measure a label with one box: predictions are (B, K + 4), logits and box, the truth (B, 5), label and box.

Boxes are shares of the width and the height; images whose true box is NaN have none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.wrappers import MetricInputTransformer

from fovea.metrics.exact import ExactMetric, fixed_mean, to_fixed
from fovea.ops.box_losses import iou, ordered


class OfLabel(MetricInputTransformer):
    """Measure the labels alone with a metric for classification: `metric`."""

    def __init__(self, *, metric: Any) -> None:
        super().__init__(metric)

    def transform_pred(self, pred: Tensor) -> Tensor:
        """Return the logits (B, K)."""
        return pred[:, :-4]

    def transform_target(self, target: Tensor) -> Tensor:
        """Return the labels (B,)."""
        return target[:, 0].long()


class BoxIoU(ExactMetric):
    """Average the intersection over union of predicted and true box over the images that have one."""

    higher_is_better = True
    score: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_sums("score", "images")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        found = box_iou(preds, target)
        self.score += to_fixed(found.nan_to_num(0.0)).sum()
        self.images += (~found.isnan()).sum()

    def compute(self) -> Tensor:
        """Return the mean, a number in 0…1; NaN without any box."""
        return fixed_mean(self.score, self.images)


class Localized(BoxIoU):
    """The share of images with a box whose label is right and whose box has an IoU of `threshold` or more.

    The measure of ImageNet's localisation task, Russakovsky et al. (2015), https://arxiv.org/abs/1409.0575.
    """

    def __init__(self, *, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold} is an IoU: it must lie above 0 and be at most 1")
        self.threshold = threshold

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        found = box_iou(preds, target)
        right = preds[:, :-4].argmax(dim=1) == target[:, 0]
        self.score += to_fixed((right & (found >= self.threshold)).double()).sum()
        self.images += (~found.isnan()).sum()


def box_iou(preds: Tensor, target: Tensor) -> Tensor:
    """Return the IoU (B,) of each image, NaN for one without a box."""
    return torch.where(
        target[:, 1:].isfinite().all(dim=1), iou(ordered(preds[:, -4:]), target[:, 1:]), float("nan")
    )
