"""Precision, recall and F1 of detections as the threshold of their score moves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fovea.metrics.judged_boxes import Judged

STEPS = 1000  # thresholds are multiples of 1 / STEPS


class PrecisionRecall(NamedTuple):
    """The curve of one class, a point for each detection that counts, the most certain first (D,)."""

    recall: np.ndarray
    precision: np.ndarray


class AtThresholds(NamedTuple):
    """What is kept at each of T thresholds of the score, by class (K, T); NaN for a class without objects.

    The precision is NaN where nothing is kept.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    def best(self, f1: np.ndarray) -> int | None:
        """Return the place of the lowest threshold with the highest F1 of (T,); None where it is 0 or NaN."""
        return None if not np.nan_to_num(f1).any() else int(np.nanargmax(f1))

    @property
    def mean_f1(self) -> np.ndarray:
        """The mean F1 over the classes that have objects (T,), NaN without any."""
        known = self.f1[~np.isnan(self.f1[:, 0])]
        return known.mean(axis=0) if len(known) else np.full(len(self.thresholds), np.nan)


def precision_recall(judged: Judged) -> list[PrecisionRecall | None]:
    """Return the curve of each class; None for one without objects."""
    curves: list[PrecisionRecall | None] = []
    for k, objects in enumerate(judged.objects.tolist()):
        right = judged.right[(judged.found.label == k) & ~judged.ignored]
        hits = right.cumsum()
        curve = PrecisionRecall(hits / max(objects, 1), hits / np.arange(1, len(right) + 1))
        curves.append(curve if objects else None)
    return curves


def at_thresholds(judged: Judged) -> AtThresholds:
    """Count what each threshold of the score keeps: F1 = 2TP / (2TP + FP + FN)."""
    thresholds = np.arange(STEPS + 1) / STEPS
    shape = (judged.num_classes, len(thresholds))
    hits, kept = np.zeros(shape), np.zeros(shape)
    step = np.floor(judged.found.score.clip(0, 1) * STEPS + 1e-9).astype(np.int64)  # the last that keeps it
    for counts, chosen in ((hits, judged.right), (kept, ~judged.ignored)):
        np.add.at(counts, (judged.found.label[chosen], step[chosen]), 1)
    hits, kept = (counts[:, ::-1].cumsum(axis=1)[:, ::-1] for counts in (hits, kept))
    objects = np.where(judged.objects > 0, judged.objects, np.nan)[:, None]
    with np.errstate(invalid="ignore"):
        precision = np.where(np.isnan(objects), np.nan, hits / np.where(kept > 0, kept, np.nan))
    return AtThresholds(thresholds, precision, hits / objects, 2 * hits / (kept + objects))
