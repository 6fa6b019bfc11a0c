"""Draw the random numbers of scenes, and the one thing known of a scene before it is planned: its label."""

from __future__ import annotations

import numpy as np

from fovea.data.scenes.shapes import SHAPES
from fovea.ops import rng

SPLITS = ("train", "val", "test")
_PLAN, _LABELS, _SENTENCES = 2000, 2010, 2020  # streams of random numbers, one per split from here


class Draws:
    """Hand out uniform random numbers, column by column."""

    def __init__(self, seed: int, split: str, index: np.ndarray, *, n: int) -> None:
        self.table, self.at = rng.uniform(seed, 0, index, n=n, stream=_PLAN + SPLITS.index(split)), 0

    def __call__(self, *shape: int) -> np.ndarray:
        """Return the next numbers (B, *shape)."""
        start, self.at = self.at, self.at + int(np.prod(shape, dtype=np.int64))
        assert self.at <= self.table.shape[1]
        return self.table[:, start : self.at].reshape(len(self.table), *shape)


def labels_of(seed: int, split: str, index: np.ndarray) -> np.ndarray:
    """Return the class of each scene (B,): every eight scenes in a row hold every shape once."""
    index = np.asarray(index, dtype=np.int64)
    count, stream = len(SHAPES), _LABELS + SPLITS.index(split)
    order = rng.bits(seed, 0, index // count, n=count, stream=stream).argsort(axis=1, kind="stable")
    return np.take_along_axis(order, (index % count)[:, None], axis=1)[:, 0]


def sentence_draws(seed: int, split: str, index: np.ndarray, *, n: int) -> list[list[float]]:
    """Return what the choice of words depends on: (B, n) uniform numbers."""
    return rng.uniform(seed, 0, index, n=n, stream=_SENTENCES + SPLITS.index(split)).tolist()
