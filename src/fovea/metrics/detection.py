"""Measure detections over a whole data set, gathered once over all processes.

preds are (B, D, 6), target (B, M, 6), as `fovea.ops.box_match` has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from fovea.metrics.average_precision import PROTOCOLS, Precision, average_precision
from fovea.metrics.exact import ExactMetric, fixed_mean, to_fixed
from fovea.ops.box_match import match
from fovea.ops.box_pairs import found_boxes, true_boxes


class Detections(Metric):
    """Keep all detections and objects of a data set.

    Metrics of the same `shared_state` keep them once: see `tasks.base.collection`.

    Args:
        num_classes: of the labels.
        protocol: coco, voc07 (11 recalls) or voc12 (area under the curve).
    """

    higher_is_better = True
    full_state_update = False
    found: list[Tensor]
    true: list[Tensor]

    def __init__(self, *, num_classes: int, protocol: str = "coco", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if protocol not in PROTOCOLS:
            raise ValueError(
                f"metrics.protocol={protocol!r} is unknown: choose one of {', '.join(PROTOCOLS)}"
            )
        self.num_classes, self.protocol = num_classes, protocol
        self.add_state("found", [], dist_reduce_fx="cat")  # (…, 7): image and the detection
        self.add_state("true", [], dist_reduce_fx="cat")  # (…, 7): image and the true box
        self._images = 0

    @property
    def shared_state(self) -> str:
        """What is kept depends on nothing."""
        return "detections"

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        images = self._numbers(len(preds)).to(preds.device)
        for rows, there, name in (
            (preds, preds[..., 4] > 0, "found"),
            (target, ~target[..., 4].isnan(), "true"),
        ):
            numbered = torch.cat([images[:, None, None].expand(*rows.shape[:2], 1).to(rows), rows], dim=2)
            getattr(self, name).append(numbered[there].float())

    def _numbers(self, count: int) -> Tensor:
        """Return a number (count,) for each image that no other process gives."""
        world, rank = 1, 0
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        numbers = (torch.arange(count) + self._images) * world + rank
        self._images += count
        return numbers

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self._images = 0

    def precision(self) -> Precision:
        """Return all figures, of each class, overlap and range of sizes."""
        found, true = (_rows(rows) for rows in (self.found, self.true))
        return measure(found, true, num_classes=self.num_classes, protocol=self.protocol)


class AveragePrecision(Detections):
    """Average the precision over recall, over the classes that have objects; NaN where there is no object.

    Args:
        at: least overlap, of those of the protocol; None: the mean over them.
    """

    def __init__(self, *, at: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        known = PROTOCOLS[self.protocol].thresholds
        if at is not None and not np.isclose(at, known).any():
            raise ValueError(
                f"metrics.protocol={self.protocol} measures at overlaps of {known[0]:g} to {known[-1]:g}, "
                f"not at={at:g}: leave that metric out by null, such as metrics.values.ap75=null"
            )
        self.at = at

    def compute(self) -> Tensor:
        """Return the mean, a number in 0…1."""
        return torch.tensor(self.precision().mean(at=self.at), device=self.device)


class AverageRecall(Detections):
    """Average the share of objects that is found, over overlaps and classes; NaN where there is no object."""

    def compute(self) -> Tensor:
        """Return the mean, a number in 0…1."""
        return torch.tensor(self.precision().mean_recall(), device=self.device)


class ImageF1(ExactMetric):
    """Average over images the F1 of what is found at one threshold: 1 where nothing is there and found.

    Args:
        threshold: of the score.
        iou: least overlap with an object of the class.
    """

    higher_is_better = True
    score: Tensor
    images: Tensor

    def __init__(self, *, threshold: float = 0.5, iou: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold, self.iou = threshold, iou
        self.add_sums("score", "images")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add one batch."""
        self.score += to_fixed(match(preds, target, threshold=self.threshold, iou=self.iou).f1).sum()
        self.images += len(preds)

    def compute(self) -> Tensor:
        """Return the mean, a number in 0…1."""
        return fixed_mean(self.score, self.images)


def measure(found: np.ndarray, true: np.ndarray, *, num_classes: int, protocol: str) -> Precision:
    """Measure detections by true boxes, both with the number of the image before them (N, 7), (M, 7)."""
    given, wanted = found_boxes(found), true_boxes(true)
    return average_precision(given, wanted, num_classes=num_classes, protocol=PROTOCOLS[protocol])


def _rows(rows: Any) -> np.ndarray:
    parts = [rows] if isinstance(rows, Tensor) else list(rows)
    joined = torch.cat([part.reshape(-1, 7) for part in parts]) if parts else torch.zeros(0, 7)
    return joined.cpu().double().numpy()
