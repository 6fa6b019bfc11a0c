"""Decide which detections are right, by the rules of COCO and of Pascal VOC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fovea.ops.box_pairs import Boxes, Pairs, area, best_first, overlapping


class Matches(NamedTuple):
    """What became of each detection and each true box, for A ranges of area and T thresholds of overlap.

    Attributes:
        right: (A, T, D) bool, it found an object.
        ignored: (A, T, D) bool, it counts neither as right nor as wrong.
        truth: (A, T, D) int64, the position of the true box that it met, -1 for none.
        counted: (A, N) bool, the true boxes that are to be found.
    """

    right: np.ndarray
    ignored: np.ndarray
    truth: np.ndarray
    counted: np.ndarray


def match_coco(
    found: Boxes, true: Boxes, *, thresholds: Sequence[float], areas: Sequence[tuple[float, float]]
) -> Matches:
    """Match as COCO does (pycocotools, Lin et al. 2014): the most certain detection chooses first.

    It takes the free true box of its class that it overlaps most, one that counts before one that does not; a
    crowd is never used up. Boxes outside of a range of areas, both ends included, do not count in it.

    Args:
        found: not more in an image and class than the protocol allows.
        true: the true boxes.
        thresholds: T least overlaps.
        areas: A ranges of area in pixels.
    """
    low, high = np.array(areas, dtype=float).T[:, :, None]
    outside = (area(true.box) < low) | (area(true.box) > high)
    passed = true.ignore | outside  # (A, N)
    floor = np.minimum(np.array(thresholds, dtype=float), 1 - 1e-10)
    pairs = overlapping(found, true, at_least=floor.min(), crowds=True)
    truth = np.full((len(areas), len(floor), len(found.label)), -1)
    taken = np.zeros((len(areas), len(floor), len(true.label)), dtype=bool)
    for turn in _turns(found, pairs):
        own = pairs.detection[turn[:, 0]]  # (K,) one detection of every image and class at most
        candidate, overlap = pairs.truth[turn], pairs.overlap[turn]  # (K, C)
        overlap = np.where(turn >= 0, overlap, -1.0)
        free = ~taken[:, :, candidate] | true.ignore[candidate]
        open_ = free & (overlap >= floor[:, None, None])  # (A, T, K, C)
        worth = np.where(open_, overlap + 2.0 * ~passed[:, None, candidate], -1.0)
        last = worth.shape[-1] - 1 - worth[..., ::-1].argmax(axis=-1)  # the last of equal ones
        chosen = np.where(open_.any(axis=-1), candidate[np.arange(len(own)), last], -1)  # (A, T, K)
        truth[:, :, own] = chosen
        a, t, k = np.nonzero(chosen >= 0)
        taken[a, t, chosen[a, t, k]] = True
    met = truth >= 0
    over_passed = met & np.take_along_axis(_padded(passed)[:, None], truth, axis=-1)
    small = (area(found.box) < low) | (area(found.box) > high)
    return Matches(met & ~over_passed, over_passed | (~met & small[:, None]), truth, ~passed)


def match_voc(found: Boxes, true: Boxes, *, thresholds: Sequence[float], inclusive: bool = True) -> Matches:
    """Match as Pascal VOC does (Everingham et al. 2010): each detection stands by the box it overlaps most.

    The most certain one at a box is right, any other a duplicate and wrong; at a box that is ignored it does
    not count. There is one range of areas, all.
    """
    floor = np.array(thresholds, dtype=float)
    pairs = overlapping(found, true, at_least=floor.min(), inclusive=inclusive)
    rank = np.empty(len(found.score), dtype=np.int64)
    rank[best_first(found)] = np.arange(len(rank))
    order = np.lexsort((pairs.truth, -pairs.overlap, pairs.detection))
    best = order[np.unique(pairs.detection[order], return_index=True)[1]]  # (K,) a pair for each detection
    best = best[np.argsort(rank[pairs.detection[best]])]
    truth = np.full((1, len(floor), len(rank)), -1)
    right = np.zeros(truth.shape, dtype=bool)
    for t, least in enumerate(floor):
        met = best[pairs.overlap[best] >= least]
        truth[0, t, pairs.detection[met]] = pairs.truth[met]
        first = met[np.unique(pairs.truth[met], return_index=True)[1]]
        right[0, t, pairs.detection[first]] = True
    ignored = (truth >= 0) & _padded(true.ignore[None])[0][truth]
    return Matches(right & ~ignored, ignored, truth, ~true.ignore[None])


def _turns(found: Boxes, pairs: Pairs) -> list[np.ndarray]:
    """Return in the order of choosing the pairs of detections that choose at once, (K, C) padded with -1.

    Those of different images and classes do not meet, so that all of the first rank choose together.
    """
    if not len(pairs.detection):
        return []
    which, start, count = np.unique(pairs.detection, return_index=True, return_counts=True)
    order = np.lexsort((which, -found.score[which], found.label[which], found.image[which]))
    image, label = found.image[which[order]], found.label[which[order]]
    new = np.r_[True, (image[1:] != image[:-1]) | (label[1:] != label[:-1])]
    begin = np.flatnonzero(new)
    rank = np.arange(len(order)) - np.repeat(begin, np.diff(np.r_[begin, len(order)]))
    turns = []
    for members in np.split(order[np.argsort(rank, kind="stable")], np.cumsum(np.bincount(rank))[:-1]):
        column = np.arange(count[members].max())
        inside = column < count[members, None]
        turns.append(np.where(inside, start[members, None] + column, -1))
    return turns


def _padded(flags: np.ndarray) -> np.ndarray:
    """Append a False (A, N + 1), which the position -1 reads."""
    return np.concatenate([flags, np.zeros((len(flags), 1), dtype=bool)], axis=1)
