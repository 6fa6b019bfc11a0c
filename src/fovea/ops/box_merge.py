"""Merge what was found in overlapping windows of one image: every object once, with its whole box."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EDGE = 1 / 32  # of a window's side: a box that ends so near to the end of its window may go on beyond


class InWindows(NamedTuple):
    """Boxes found in windows of an image; N of them, in pixels of the image."""

    boxes: np.ndarray  # (N, 4) x1 y1 x2 y2
    scores: np.ndarray  # (N,)
    labels: np.ndarray  # (N,)
    windows: np.ndarray  # (N, 4) the window of each

    def take(self, rows: np.ndarray) -> InWindows:
        """Return some of them."""
        return InWindows(*(values[rows] for values in self))


def merge(found: InWindows, *, size: tuple[int, int], least: float = 0.5, across: bool = False) -> np.ndarray:
    """Return boxes, scores and labels (n, 6), the most certain first.

    Two boxes are of one object where their intersection covers more than `least` of the smaller one, as in
    Akyon et al. (2022), https://arxiv.org/abs/2202.06934. Those of one window never are: the net has
    suppressed its duplicates. Boxes that end inside of their window go first, and take in others as they are;
    what is left was cut everywhere, and becomes one box around all parts that agree where windows overlap.

    Args:
        found: what the windows gave.
        size: height and width of the image.
        least: of the smaller box, in 0…1.
        across: boxes of different classes may be of one object, too.
    """
    cut = _cut(found, size)
    order = np.lexsort((-found.scores, cut))  # whole boxes first, the most certain of them first
    found, cut = found.take(order), cut[order]
    free, rows = np.ones(len(order), dtype=bool), []
    for seed in range(len(order)):
        if not free[seed]:
            continue
        free[seed] = False
        members = _members(found, cut, free, seed, least=least, across=across)
        box = found.boxes[seed]
        if cut[seed]:
            parts = found.boxes[members]
            box = np.concatenate([parts[:, :2].min(axis=0), parts[:, 2:].max(axis=0)])
        rows.append([*box, found.scores[members].max(), found.labels[seed]])
    merged = np.array(rows, dtype=np.float32).reshape(-1, 6)
    return merged[np.argsort(-merged[:, 4], kind="stable")]


def _cut(found: InWindows, size: tuple[int, int]) -> np.ndarray:
    """Return which boxes (N,) reach an end of their window that is none of the image."""
    height, width = size
    ends = np.array([0, 0, width, height])
    sides = np.tile(found.windows[:, 2:] - found.windows[:, :2], 2)
    near = np.abs(found.boxes - found.windows) < EDGE * sides
    return (near & (found.windows != ends)).any(axis=1)


def _members(
    found: InWindows, cut: np.ndarray, free: np.ndarray, seed: int, *, least: float, across: bool
) -> list[int]:
    """Return the boxes of the object of one, which are free no more; parts lead on to further parts."""
    members, waiting = [seed], [seed]
    while waiting:
        one = waiting.pop()
        rest = np.flatnonzero(free)
        new = rest[_same(found.take(rest), found.take(np.array([one])), cut[rest] & cut[one], least, across)]
        free[new] = False
        members += new.tolist()
        waiting += new.tolist() if cut[seed] else []
    return members


def _same(others: InWindows, one: InWindows, both_cut: np.ndarray, least: float, across: bool) -> np.ndarray:
    """Return which of the others (N,) are of the same object as one."""
    shared = _area(_inside(others.boxes, one.boxes))
    same = shared > least * np.minimum(_area(others.boxes), _area(one.boxes))
    # parts of a large object meet only where their windows do: there they must be alike
    a, b = _inside(others.boxes, one.windows), _inside(one.boxes, others.windows)
    same |= both_cut & (shared > least * (_area(a) + _area(b) - shared))
    same &= (others.windows != one.windows).any(axis=1)
    return same if across else same & (others.labels == one.labels)


def _inside(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersections of boxes (N, 4)."""
    low, high = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    return np.concatenate([low, np.maximum(low, high)], axis=1)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
