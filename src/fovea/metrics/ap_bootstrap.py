"""Resample the images of a test set and average the precision anew: how far a figure depends on them.

Detections are matched once, since what is right in an image does not depend on others; a resample is how
often each image counts (Efron & Tibshirani 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fovea.metrics.average_precision import Protocol
from fovea.ops.box_pairs import Boxes

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DRAWS, LEVEL = 1000, 0.95
AT_ONCE = 2**18  # numbers of a table, so that it stays in the caches


class _Hits(NamedTuple):
    """The hits of one class, the most certain first.

    Attributes:
        objects: (images,) float32, how many there are to be found in each.
        between: how many detections of each image follow one hit and come up to the next (hits, images), for
            hits at any overlap.
        image: of the hits at each overlap, T arrays.
        place: of those among the hits at any overlap.
        passed: as `between`, the detections that count neither as right nor as wrong at that overlap.
    """

    objects: np.ndarray
    between: csr_array
    image: list[np.ndarray]
    place: list[np.ndarray]
    passed: list[csr_array]


def resamples(images: int, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Return how often each image is in each of the resamples (images, draws), float32."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(images, np.full(images, 1 / max(images, 1)), size=draws)
    return np.ascontiguousarray(drawn.T, dtype=np.float32)


def resampled_precision(
    found: Boxes, true: Boxes, counts: np.ndarray, *, num_classes: int, protocol: Protocol,
    thresholds: Sequence[float] | None = None,
) -> np.ndarray:  # fmt: skip
    """Return the average precision (T, draws) at each least overlap, the mean over the classes with objects.

    Args:
        found: detections; their images count from 0.
        true: true boxes.
        counts: how often each image counts in each draw (images, draws).
        num_classes: K.
        protocol: by which they are matched and averaged.
        thresholds: T least overlaps; None: those of the protocol.
    """
    found = protocol.ranked(found)
    thresholds = protocol.thresholds if thresholds is None else thresholds
    matches = protocol.match(found, true, thresholds=thresholds)
    right, counted, images = matches.right[0], ~matches.ignored[0], len(counts)
    classes = []
    for k in range(num_classes):
        own = true.image[(true.label == k) & ~true.ignore]
        which = np.flatnonzero(found.label == k)
        if len(own):
            objects = np.bincount(own, minlength=images).astype(np.float32)
            classes.append(_hits(objects, found.image[which], right[:, which], counted[:, which]))
    values = np.full((len(right), counts.shape[1]), np.nan)
    width = max([16, *(AT_ONCE // (1 + one.between.shape[0]) for one in classes)])
    for start in range(0, counts.shape[1] if classes else 0, width):
        drawn = np.ascontiguousarray(counts[:, start : start + width])
        values[:, start : start + width] = _mean(classes, drawn, protocol)
    return values


def _hits(objects: np.ndarray, image: np.ndarray, right: np.ndarray, counted: np.ndarray) -> _Hits:
    """Find the hits of a class among its detections (D,), the most certain first; `right` is (T, D)."""
    hits = [np.flatnonzero(one) for one in right]
    either = np.flatnonzero(right.any(axis=0))
    passed = [
        _between(image, np.flatnonzero(~one), at, len(objects)) for one, at in zip(counted, hits, strict=True)
    ]
    place = [np.searchsorted(either, at) for at in hits]
    every = _between(image, np.arange(len(image)), either, len(objects))
    return _Hits(objects, every, [image[at] for at in hits], place, passed)


def _between(image: np.ndarray, which: np.ndarray, hits: np.ndarray, images: int) -> csr_array:
    """Count in each image the detections after one hit and up to the next (hits, images)."""
    from scipy.sparse import csr_array

    row = np.searchsorted(hits, which)
    which, row = which[row < len(hits)], row[row < len(hits)]
    start = np.searchsorted(row, np.arange(len(hits) + 1))
    return csr_array((np.ones(len(which), np.float32), image[which], start), shape=(len(hits), images))


def _mean(classes: Sequence[_Hits], drawn: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Return the mean over the classes that have objects in a draw (T, draws), NaN without any."""
    total, known = np.zeros((len(classes[0].image), drawn.shape[1])), np.zeros(drawn.shape[1])
    for one in classes:
        objects = one.objects @ drawn
        known += objects > 0
        steps = np.arange(objects.max() + 1)[:, None] / np.maximum(objects, 1).astype(np.float64)
        reached = protocol.reached(steps).astype(np.float32)  # (objects + 1, draws)
        above = (one.between @ drawn).cumsum(axis=0)  # (hits, draws)
        for t, image in enumerate(one.image):
            if len(image):
                kept = above[one.place[t]]
                if one.passed[t].nnz:
                    kept -= (one.passed[t] @ drawn).cumsum(axis=0)
                total[t] += _average(drawn[image].cumsum(axis=0), kept, reached)
    return total / np.where(known > 0, known, np.nan)


def _average(hits: np.ndarray, kept: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Sum over the hits (hits, draws) the recall that each adds times the best precision there or beyond."""
    precision = hits / np.maximum(kept, 1)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    draws = hits.shape[1]
    share = reached.ravel().take(hits.astype(np.int64) * draws + np.arange(draws))
    share[1:] -= share[:-1].copy()
    return np.einsum("ij,ij->j", share, best)


def interval(values: np.ndarray, figure: float, *, level: float = LEVEL) -> tuple[float, float]:
    """Return the bias-corrected percentile interval of draws about a figure, NaN where none is known.

    Efron & Tibshirani 1993, equation 14.10 without acceleration: precision that is made monotone is higher in
    resamples, which hold some images twice, than in the images themselves.
    """
    from scipy.special import ndtr, ndtri

    known = values[~np.isnan(values)]
    if not len(known) or np.isnan(figure):
        return float("nan"), float("nan")
    near = 1e-6  # what rounding in single precision makes
    below = (np.sum(known < figure - near) + np.sum(known <= figure + near)) / 2
    bias = ndtri(np.clip(below, 0.5, len(known) - 0.5) / len(known))
    ends = ndtr(2 * bias + ndtri([0.5 - level / 2, 0.5 + level / 2]))
    low, high = np.quantile(known, ends)
    return float(low), float(high)
