"""Read and score what `MaskPredictions` kept of the test images."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

COUNTS = ("ids", "right", "found", "truth", "confusion", "palette")


def read(path: Path, *keys: str) -> Mapping[str, np.ndarray]:
    """Read some arrays of an archive; ValueError where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read ({error}); it was probably cut off while written") from error


def read_counts(path: Path) -> Mapping[str, np.ndarray]:
    """Read `test.npz`; ValueError where it is damaged, or holds something else."""
    arrays = read(path, *COUNTS)
    size, shapes = len(arrays["ids"]), {arrays[key].shape for key in ("right", "found", "truth")}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2 or next(iter(shapes))[0] != size:
        raise ValueError(f"{path} does not hold one row of pixel counts per image")
    return arrays


def iou(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return TP / (TP + FP + FN) (…, K) of counts (…, K); NaN where truth and prediction lack the class."""
    right, found, truth = (arrays[key].astype(np.float64) for key in ("right", "found", "truth"))
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / (found + truth - right)


def dice(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return 2 TP / (2 TP + FP + FN) (…, K) of counts (…, K); NaN as in `iou`."""
    right, found, truth = (arrays[key].astype(np.float64) for key in ("right", "found", "truth"))
    with np.errstate(invalid="ignore", divide="ignore"):
        return 2 * right / (found + truth)


def summed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the counts (K,) over all images."""
    return {key: arrays[key].sum(axis=0, dtype=np.int64) for key in ("right", "found", "truth")}


def mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis without NaN; NaN where nothing else is there."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)
