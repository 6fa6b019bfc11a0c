"""Compare the detections of an exported detector with the original's: the same boxes, in whatever order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fovea.export.parity import batches, both
from fovea.export.predict_example import Model

BATCHES = (1, 3, 7)
SLACK = 1e-3  # of an overlap, whose rounding decides


def compare(net: Any, model: Model, images: Tensor) -> dict[str, dict[str, Any]]:
    """Return how well the two agree on images (N, C, H, W), and on images without objects.

    Boxes count as shares of the width and height. Each detection is held against the nearest of its class in
    the other. One that has none there differs by what its score is above the least that would be kept, or
    above that of a detection which suppresses it: of equally certain duplicates either may stay.

    Raises:
        ExportError: the exported network fails on a batch, or gives another shape.
    """
    height, width = images.shape[2:]
    sides = np.array([width, height, width, height, 1.0, 1.0])
    worst, count = 0.0, 0
    least, overlap = float(net.score_threshold), float(net.nms_threshold)
    for batch in _batches(images):
        ((name, (own, other)),) = both(net, model, batch).items()
        for a, b in zip(own / sides, other / sides, strict=True):
            gap = np.maximum(_gap(a, b, least, overlap), _gap(b, a, least, overlap))
            worst = float(np.maximum(worst, gap))
            count += int((a[:, 4] > 0).sum())
    about = {"max_abs_difference": worst, "max_rel_difference": worst, "max_abs_value": 1.0}
    return {name: {**about, "same_argmax": None, "detections": count}}


def _batches(images: Tensor) -> Iterator[Tensor]:
    """Yield the images in batches of 1, 3 and 7 in turns, then grey ones and noise, where nothing is."""
    yield from batches(images, sizes=BATCHES)
    noise = torch.randn(images[:2].shape, generator=torch.Generator().manual_seed(0))
    yield torch.zeros_like(images[:3])
    yield torch.cat([torch.zeros_like(images[:1]), noise])


def _gap(found: np.ndarray, other: np.ndarray, least: float, overlap: float) -> float:
    """Return by how much detections (D, 6) differ at most from their nearest in the other; NaN for NaN."""
    full = bool((other[:, 4] > 0).all())
    found, other = found[found[:, 4] != 0], other[other[:, 4] != 0]
    if not (np.isfinite(found).all() and np.isfinite(other).all()):
        return float("nan")
    if not len(found):
        return 0.0
    gap = np.maximum(found[:, 4] - (other[:, 4].min() if full else least), 0.0)  # of what is not there
    if not len(other):
        return float(gap.max())
    alike = found[:, None, 5] == other[None, :, 5]
    apart = np.abs(found[:, None, :5] - other[None, :, :5]).max(axis=2)
    above = np.maximum(found[:, None, 4] - other[None, :, 4], 0.0)
    gone = np.where(_iou(found, other) > overlap - SLACK, above, np.inf)
    nearest = np.where(alike, np.minimum(apart, gone), np.inf).min(axis=1)
    return float(np.minimum(nearest, gap).max())


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the overlap of each box of a (N, 6) with each of b (M, 6): (N, M)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    shared = (high - low).clip(0).prod(axis=2)
    areas = [(x[:, 2:4] - x[:, :2]).prod(axis=1) for x in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-12)
