"""The overlaps of detected and true boxes of a whole data set, a line for each pair that can match."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Boxes(NamedTuple):
    """The boxes of many images, one a line, in any order.

    Attributes:
        image: (N,) int64, the image each lies in; images count in this order where scores are equal.
        label: (N,) int64, its class.
        box: (N, 4) x1 y1 x2 y2 in pixels.
        score: (N,) of detections, how certain they are; of true boxes not read.
        ignore: (N,) bool of true boxes, which count neither as found nor as missed; of detections not read.
    """

    image: np.ndarray
    label: np.ndarray
    box: np.ndarray
    score: np.ndarray
    ignore: np.ndarray

    def take(self, chosen: np.ndarray) -> Boxes:
        """Return the lines of an index or a mask."""
        return Boxes(*(column[chosen] for column in self))

    def of_one_class(self) -> Boxes:
        """Return them as if all were of class 0, so that those of different classes meet, too."""
        return self._replace(label=np.zeros_like(self.label))


class Pairs(NamedTuple):
    """Detections and true boxes of the same image and class that overlap, a line for each pair.

    Attributes:
        detection, truth: (P,) positions in the two `Boxes`; those of a detection lie together, in the order
            of the true boxes.
        overlap: (P,) in 0…1.
    """

    detection: np.ndarray
    truth: np.ndarray
    overlap: np.ndarray


def found_boxes(rows: np.ndarray) -> Boxes:
    """Return detections of rows (N, 7): image, x1 y1 x2 y2, score, class."""
    image, label = rows[:, 0].astype(np.int64), rows[:, 6].astype(np.int64)
    return Boxes(image, label, rows[:, 1:5], rows[:, 5], np.zeros(len(rows), dtype=bool))


def true_boxes(rows: np.ndarray) -> Boxes:
    """Return true boxes of rows (N, 7): image, x1 y1 x2 y2, class, 1 where it is to be ignored."""
    image, label = rows[:, 0].astype(np.int64), rows[:, 5].astype(np.int64)
    return Boxes(image, label, rows[:, 1:5], np.ones(len(rows)), rows[:, 6] > 0)


def area(box: np.ndarray, *, inclusive: bool = False) -> np.ndarray:
    """Return the areas (N,) of boxes (N, 4); inclusive: the last pixel belongs to a box, as in Pascal VOC."""
    more = 1.0 if inclusive else 0.0
    return (box[:, 2] - box[:, 0] + more) * (box[:, 3] - box[:, 1] + more)


def best_first(found: Boxes) -> np.ndarray:
    """Return the order (N,) of detections by score; equal ones by image, then as they were given."""
    return np.lexsort((np.arange(len(found.score)), found.image, -found.score))


def overlapping(
    found: Boxes, true: Boxes, *, at_least: float, inclusive: bool = False, crowds: bool = False
) -> Pairs:
    """Return the pairs whose intersection over union reaches `at_least`.

    Args:
        found: the detections.
        true: the true boxes.
        at_least: the least overlap of a pair that can match.
        inclusive: the last pixel belongs to a box, as in Pascal VOC.
        crowds: an ignored box stands for many objects, as COCO's crowds do: the intersection is divided by
            the area of the detection alone.
    """
    width = 1 + max(found.label.max(initial=0), true.label.max(initial=0))
    key, true_key = found.image * width + found.label, true.image * width + true.label
    order = np.argsort(true_key, kind="stable")
    first = np.searchsorted(true_key[order], key, side="left")
    count = np.searchsorted(true_key[order], key, side="right") - first  # true boxes of image and class
    detection = np.repeat(np.arange(len(key)), count)
    within = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
    truth = order[np.repeat(first, count) + within]
    a, b, more = found.box[detection], true.box[truth], 1.0 if inclusive else 0.0
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]) + more
    shared = np.where((sides > 0).all(axis=1), sides.prod(axis=1), 0.0)
    own = area(found.box, inclusive=inclusive)[detection]
    union = own + area(true.box, inclusive=inclusive)[truth] - shared
    whole = np.where(true.ignore[truth], own, union) if crowds else union
    overlap = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    near = overlap >= at_least
    return Pairs(detection[near], truth[near], overlap[near])
