"""Decide how many objects there are, how large, and where."""

from __future__ import annotations

import numpy as np

from fovea.data.scenes.draws import Draws

CANDIDATES = 12  # places tried for each object


def count_objects(draw: Draws, *, clutter: int, objects: int, difficulty: float) -> np.ndarray:
    """Return which slots are used (B, S): the last always is."""
    low, high = 1 + difficulty * (objects - 1) / 2, min(2, objects) + difficulty * max(objects - 2, 0)
    count = np.floor(low + draw(1) * (high + 1 - low))  # (B, 1) number of objects
    rank = np.arange(objects)[::-1]
    return np.concatenate([draw(clutter) < 0.75, rank < np.clip(count, 1, objects)], axis=1)


def areas(draw: Draws, *, clutter: int, slots: int, difficulty: float) -> np.ndarray:
    """Return areas (B, S); the object of the label is the largest by a margin."""
    shrink = min(1.0, 4 / max(slots - clutter, 1))
    first = (0.13 + 0.09 * draw(1)) * (1 - difficulty) + (0.050 + 0.045 * draw(1)) * difficulty * shrink
    share = 0.35 + 0.45 * draw(slots)
    share[:, :clutter] *= 0.3
    share[:, -1] = 1.0
    return first * share


def places(
    draw: Draws, present: np.ndarray, reach: np.ndarray, area: np.ndarray, *,
    size: tuple[int, int], difficulty: float, clutter: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return centres (B, S) in shorter sides: of a few random places each object takes the best.

    That is where its overlap with earlier objects is closest to what was drawn: none where it is easy.
    """
    slots = present.shape[1]
    margin = reach * (1 - 0.6 * difficulty)
    margin[:, -1] = reach[:, -1]  # the label's object is whole
    u, wanted = draw(slots, CANDIDATES, 2), draw(slots, 2)
    xs, ys = (
        margin[..., None] + u[..., axis] * (side / min(size) - 2 * margin[..., None])
        for axis, side in enumerate(size[::-1])
    )
    target = np.where(wanted[..., 0] < 0.85 * difficulty, 0.2 + 0.6 * wanted[..., 1], 0.0)
    x, y, radius = xs[..., 0].copy(), ys[..., 0].copy(), np.sqrt(area / np.pi) * 1.1
    for k in range(slots - 2, clutter - 1, -1):
        later = slice(k + 1, slots)
        far = np.hypot(xs[:, k, :, None] - x[:, None, later], ys[:, k, :, None] - y[:, None, later])
        one, others = radius[:, k, None, None], radius[:, None, later]
        overlap = np.clip((one + others - far) / (2 * np.minimum(one, others)), 0, 1)  # (B, C, later)
        total = (overlap * present[:, None, later]).sum(axis=-1)
        best = np.abs(total - target[:, k, None]).argmin(axis=1)[:, None]
        x[:, k], y[:, k] = (np.take_along_axis(c[:, k], best, axis=1)[:, 0] for c in (xs, ys))
    return x, y
