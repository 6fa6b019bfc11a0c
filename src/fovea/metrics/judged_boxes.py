"""Decide once, at one least overlap, which detections are right: what curves, causes and intervals read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fovea.metrics.average_precision import Protocol
from fovea.ops.box_pairs import Boxes


class Judged(NamedTuple):
    """The detections of a data set, the most certain first, and what became of each.

    Attributes:
        found: the D detections that count by the protocol.
        true: the N true boxes.
        right: (D,) bool, it found an object.
        ignored: (D,) bool, it counts neither as right nor as wrong.
        truth: (D,) int64, the position of the true box that it met, -1 for none.
        num_classes: K.
        overlap: the least overlap of a detection that is right.
        protocol: by which they were matched.
    """

    found: Boxes
    true: Boxes
    right: np.ndarray
    ignored: np.ndarray
    truth: np.ndarray
    num_classes: int
    overlap: float
    protocol: Protocol

    @property
    def wrong(self) -> np.ndarray:
        """The detections that count as wrong (D,) bool."""
        return ~(self.right | self.ignored)

    @property
    def objects(self) -> np.ndarray:
        """The objects of each class that are to be found (K,) int64."""
        return np.bincount(self.true.label[~self.true.ignore], minlength=self.num_classes)

    @property
    def missed(self) -> np.ndarray:
        """The objects that no detection found (N,) bool."""
        missed = ~self.true.ignore
        missed[self.truth[self.right]] = False
        return missed


def judge(found: Boxes, true: Boxes, *, num_classes: int, protocol: Protocol, overlap: float = 0.5) -> Judged:
    """Match the detections of a data set with its true boxes, of all sizes together."""
    found = protocol.ranked(found)
    matches = protocol.match(found, true, thresholds=(overlap,))
    right, ignored, truth = (part[0, 0] for part in (matches.right, matches.ignored, matches.truth))
    return Judged(found, true, right, ignored, truth, num_classes, overlap, protocol)
