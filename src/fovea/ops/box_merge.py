"""Merge what was found in overlapping windows of one image: every object once, with its whole box."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BLOCK = 256  # boxes that are held against all others at once
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
    partners = _partners(found, cut, least=least, across=across)
    free, merged = np.ones(len(order), dtype=bool), []
    for seed in range(len(order)):
        if free[seed]:
            members = _members(partners, free, seed, on=bool(cut[seed]))
            parts = found.boxes[members if cut[seed] else [seed]]
            box = np.concatenate([parts[:, :2].min(axis=0), parts[:, 2:].max(axis=0)])
            merged.append([*box, found.scores[members].max(), found.labels[seed]])
    rows = np.array(merged, dtype=np.float32).reshape(-1, 6)
    return rows[np.argsort(-rows[:, 4], kind="stable")]


def _cut(found: InWindows, size: tuple[int, int]) -> np.ndarray:
    """Return which boxes (N,) reach an end of their window that is none of the image."""
    height, width = size
    ends = np.array([0, 0, width, height])
    sides = np.tile(found.windows[:, 2:] - found.windows[:, :2], 2)
    near = np.abs(found.boxes - found.windows) < EDGE * sides
    return (near & (found.windows != ends)).any(axis=1)


def _members(partners: list[np.ndarray], free: np.ndarray, seed: int, *, on: bool) -> list[int]:
    """Return the free boxes of the object of one, which are free no more; `on`: partners have partners."""
    members, waiting = [seed], [seed]
    free[seed] = False
    while waiting:
        new = partners[waiting.pop()]
        new = new[free[new]]
        free[new] = False
        members += new.tolist()
        waiting += new.tolist() if on else []
    return members


def _partners(found: InWindows, cut: np.ndarray, *, least: float, across: bool) -> list[np.ndarray]:
    """Return for each box the others that are of the same object."""
    first, second = _touching(found.boxes)
    same = _same(found.take(first), found.take(second), cut[first] & cut[second], least, across)
    first, second = first[same], second[same]  # sorted by the first
    return np.split(second, np.searchsorted(first, np.arange(1, len(found.boxes))))


def _touching(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of boxes that meet, a block of rows after the other."""
    pairs = [(np.zeros(0, dtype=int), np.zeros(0, dtype=int))]
    for start in range(0, len(boxes), BLOCK):
        some = boxes[start : start + BLOCK, None]
        meet = ((some[..., :2] < boxes[:, 2:]) & (boxes[:, :2] < some[..., 2:])).all(axis=2)
        one, other = np.nonzero(meet)
        pairs.append((one + start, other))
    first, second = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return first[first != second], second[first != second]


def _same(a: InWindows, b: InWindows, both_cut: np.ndarray, least: float, across: bool) -> np.ndarray:
    """Return of which pairs (P,) both boxes are of one object."""
    shared = _area(_inside(a.boxes, b.boxes))
    same = shared > least * np.minimum(_area(a.boxes), _area(b.boxes))
    # parts of a large object meet only where their windows do: there they must be alike
    there = _area(_inside(a.boxes, b.windows)) + _area(_inside(b.boxes, a.windows))
    same |= both_cut & (shared > least * (there - shared))
    same &= (a.windows != b.windows).any(axis=1)
    return same if across else same & (a.labels == b.labels)


def _inside(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersections of boxes (N, 4)."""
    low, high = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    return np.concatenate([low, np.maximum(low, high)], axis=1)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
