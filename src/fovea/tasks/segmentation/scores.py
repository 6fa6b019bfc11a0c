"""Compute scores from pixel counts (…, K) of `right`, predicted (`found`) and true (`target`) pixels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def iou(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return TP / (TP + FP + FN) (…, K); NaN where truth and prediction lack the class."""
    right, found, target = _counts(arrays)
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / (found + target - right)


def dice(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return 2 TP / (2 TP + FP + FN) (…, K); NaN as in `iou`."""
    right, found, target = _counts(arrays)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * right / (found + target)


def _counts(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return [arrays[key].astype(np.float64) for key in ("right", "found", "target")]


def summed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the counts (K,) over all images."""
    return {key: arrays[key].sum(axis=0, dtype=np.int64) for key in ("right", "found", "target")}


def mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis without NaN; NaN where all values are NaN."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)
