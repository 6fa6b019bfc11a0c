"""Average precision of detections, by the protocols of COCO and of Pascal VOC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fovea.metrics.box_matching import Matches, match_coco, match_voc
from fovea.ops.box_pairs import Boxes, best_first

COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
COCO_AREAS = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}


@dataclass(frozen=True)
class Protocol:
    """How detections are matched and how precision is averaged over recall.

    Attributes:
        words: a sentence for a reader of the figures.
        reached: maps recalls (…) to the share of the average that lies at them or below.
        match: maps found and true boxes to `Matches`, given `thresholds` and the names of `areas`.
        thresholds: least overlaps over which the precision is averaged.
        areas: names of the ranges of area, "all" first.
        per_image: the most certain detections of a class that count in an image; None for all.
        inclusive: the last pixel belongs to a box.
    """

    words: str
    reached: Callable[[np.ndarray], np.ndarray]
    match: Callable[..., Matches]
    thresholds: tuple[float, ...]
    areas: tuple[str, ...] = ("all",)
    per_image: int | None = None
    inclusive: bool = False

    def average(self, recall: np.ndarray, precision: np.ndarray) -> float:
        """Average the precision (D,) over recall, made monotone: the best one at each recall or beyond."""
        best = np.maximum.accumulate(precision[::-1])[::-1]
        return float((np.diff(self.reached(recall), prepend=0.0) * best).sum())

    def ranked(self, found: Boxes) -> Boxes:
        """Return the detections that count, the most certain first.

        Raises:
            ValueError: a score is NaN or infinite.
        """
        if not np.isfinite(found.score).all():
            raise ValueError("a detection has a score that is NaN or infinite: it cannot be ranked")
        found = found.take(best_first(found))
        return found if self.per_image is None else found.take(_place(found) < self.per_image)


@dataclass(frozen=True)
class Precision:
    """The figures of one data set; NaN where there is nothing to find.

    Attributes:
        ap: (A, T, K) by range of area, least overlap and class.
        recall: (A, T, K) the share of true boxes that were found.
        objects: (A, K) int64, the true boxes that were to be found.
        protocol: what they were measured by.
    """

    ap: np.ndarray
    recall: np.ndarray
    objects: np.ndarray
    protocol: Protocol

    def per_class(self, *, at: float | None = None, area: str = "all") -> np.ndarray:
        """Return the average precision (K,), over all thresholds or at one."""
        return self._mean(self.ap, at, area)

    def recall_per_class(self, *, at: float | None = None, area: str = "all") -> np.ndarray:
        """Return the recall (K,), over all thresholds or at one."""
        return self._mean(self.recall, at, area)

    def mean(self, *, at: float | None = None, area: str = "all") -> float:
        """Return the mean over the classes of which there are objects."""
        return _mean_known(self.per_class(at=at, area=area))

    def mean_recall(self, *, at: float | None = None, area: str = "all") -> float:
        """Return the mean recall over the classes of which there are objects."""
        return _mean_known(self.recall_per_class(at=at, area=area))

    def _mean(self, values: np.ndarray, at: float | None, area: str) -> np.ndarray:
        chosen = values[self.protocol.areas.index(area)]
        if at is None:
            return chosen.mean(axis=0)
        (position,) = np.flatnonzero(np.isclose(self.protocol.thresholds, at))
        return chosen[position]


def average_precision(found: Boxes, true: Boxes, *, num_classes: int, protocol: Protocol) -> Precision:
    """Measure the detections of a whole data set.

    Args:
        found: detections in any order.
        true: true boxes.
        num_classes: the labels of both are below it.
        protocol: a member of `PROTOCOLS`, or one of your own.

    Raises:
        ValueError: a score is NaN or infinite.
    """
    found = protocol.ranked(found)
    matches = protocol.match(found, true, thresholds=protocol.thresholds, areas=protocol.areas)
    shape = (*matches.right.shape[:2], num_classes)
    ap, recall = np.full(shape, np.nan), np.full(shape, np.nan)
    objects = np.stack([np.bincount(true.label[c], minlength=num_classes) for c in matches.counted])
    order = np.argsort(found.label, kind="stable")  # the classes one after another, each the best first
    ends = np.cumsum(np.bincount(found.label, minlength=num_classes))
    for k, of_class in enumerate(np.split(order, ends[:-1])):
        right, wrong = matches.right[..., of_class], ~(matches.right | matches.ignored)[..., of_class]
        hits, misses = right.cumsum(axis=-1, dtype=float), wrong.cumsum(axis=-1, dtype=float)
        for a in np.flatnonzero(objects[:, k]):
            for t in range(shape[1]):
                curve = hits[a, t] / objects[a, k]
                precision = hits[a, t] / np.maximum(hits[a, t] + misses[a, t], np.spacing(1.0))
                ap[a, t, k] = protocol.average(curve, precision)
                recall[a, t, k] = curve[-1] if len(curve) else 0.0
    return Precision(ap, recall, objects, protocol)


def at_points(points: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Average over these recalls alone."""

    def reached(recall: np.ndarray) -> np.ndarray:
        return np.searchsorted(points, recall, side="right") / len(points)

    return reached


def under_curve(recall: np.ndarray) -> np.ndarray:
    """Average over all recalls, as Pascal VOC does since 2010."""
    return recall


def _coco(
    found: Boxes, true: Boxes, *, thresholds: Sequence[float], areas: Sequence[str] = ("all",)
) -> Matches:
    return match_coco(found, true, thresholds=thresholds, areas=[COCO_AREAS[name] for name in areas])


def _voc(
    found: Boxes, true: Boxes, *, thresholds: Sequence[float], areas: Sequence[str] = ("all",)
) -> Matches:
    return match_voc(found, true, thresholds=thresholds)


def _place(found: Boxes) -> np.ndarray:
    """Return the rank (D,) of each detection, which come best first, within its image and class."""
    order = np.lexsort((np.arange(len(found.label)), found.label, found.image))
    image, label = found.image[order], found.label[order]
    new = np.r_[True, (image[1:] != image[:-1]) | (label[1:] != label[:-1])][: len(order)]
    begin = np.flatnonzero(new)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - np.repeat(begin, np.diff(np.append(begin, len(order))))
    return place


def _mean_known(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


PROTOCOLS = {
    "coco": Protocol(
        "COCO: mean over overlaps of 0.50 to 0.95 and 101 recalls, at most 100 boxes of a class in an image",
        at_points(np.linspace(0, 1, 101)),
        _coco,
        COCO_THRESHOLDS,
        tuple(COCO_AREAS),
        per_image=100,
    ),
    "voc07": Protocol(
        "Pascal VOC 2007: overlap of 0.5 with inclusive pixels, mean over 11 recalls",
        at_points(np.linspace(0, 1, 11)),
        _voc,
        (0.5,),
        inclusive=True,
    ),
    "voc12": Protocol(
        "Pascal VOC 2010 to 2012: overlap of 0.5 with inclusive pixels, area under the curve",
        under_curve,
        _voc,
        (0.5,),
        inclusive=True,
    ),
}
