"""Measure how well the boundaries of regions are met."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from fovea.metrics.segmentation import ONE
from fovea.ops.boundary import boundary_f1


class BoundaryF1(Metric):
    """Average the F1 score of boundaries: preds and target are class maps (B, H, W), 255 in target = ignore.

    Csurka et al. (2013), "What is a good evaluation measure for semantic segmentation?", also the F measure
    of DAVIS, Perazzi et al. (2016): the scores of `ops.boundary.boundary_f1` are averaged over the images
    that show a class, then over classes. A boundary pixel is one of the class beside one of another class
    (DAVIS takes those on either side); it is met within `tolerance` × the diagonal of the image, Euclidean,
    not rounded, at least 1 pixel. NaN where no boundary is known.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    score: Tensor
    shown: Tensor
    reach: Tensor

    def __init__(self, *, num_classes: int, tolerance: float = 0.0075, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= tolerance <= 0.1:
            raise ValueError(f"tolerance={tolerance} is a share of the diagonal: it must lie in 0…0.1")
        self.num_classes, self.tolerance = num_classes, tolerance
        for name in ("score", "shown"):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        # A state only so that a MetricCollection never takes two tolerances for one metric.
        self.add_state("reach", torch.tensor(tolerance), dist_reduce_fx="max")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        found = boundary_f1(preds, target, num_classes=self.num_classes, tolerance=self.tolerance)  # (B, K)
        self.score += (found.nan_to_num(0.0) * ONE).round().long().sum(0)
        self.shown += (~found.isnan()).sum(0)

    def per_class(self) -> Tensor:
        """Return the mean (K,) of each class, NaN for absent ones."""
        return (self.score.cpu().double() / ONE / self.shown.cpu()).float().to(self.score.device)

    def compute(self) -> Tensor:
        """Return the mean over classes, a number in 0…1."""
        return self.per_class().nanmean()
