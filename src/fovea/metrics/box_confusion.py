"""Count which class detections take objects for, and what they find in the background or miss."""

from __future__ import annotations

import numpy as np

from fovea.ops.box_pairs import Boxes, Pairs, overlapping


def box_confusion(
    found: Boxes, true: Boxes, *, num_classes: int, threshold: float, overlap: float, inclusive: bool = False
) -> np.ndarray:
    """Count pairs of true and predicted class (K + 1, K + 1) int64; K stands for the background.

    Detections with a score of `threshold` or more meet objects of any class that they overlap by `overlap` or
    more, one detection one object: the pair that overlaps most comes first, of equal ones that of one class,
    then the more certain. Column K holds objects that no detection met, row K detections that met no object;
    those on an object that is to be ignored do not count.

    Args:
        found: detections of a data set.
        true: its true boxes.
        num_classes: K.
        threshold: of the score.
        overlap: least intersection over union.
        inclusive: the last pixel belongs to a box, as in Pascal VOC.
    """
    found = found.take(found.score >= threshold)
    pairs = overlapping(found.of_one_class(), true.of_one_class(), at_least=overlap, inclusive=inclusive)
    counted = ~true.ignore[pairs.truth]
    detection, truth = one_to_one(found, true, Pairs(*(column[counted] for column in pairs)))
    free = np.ones(len(found.score), dtype=bool)
    free[detection] = False
    free[pairs.detection[~counted]] = False  # on an object to be ignored
    missed = ~true.ignore
    missed[truth] = False
    matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    np.add.at(matrix, (true.label[truth], found.label[detection]), 1)
    matrix[:, num_classes] += np.bincount(true.label[missed], minlength=num_classes + 1)
    matrix[num_classes] += np.bincount(found.label[free], minlength=num_classes + 1)
    return matrix


def one_to_one(found: Boxes, true: Boxes, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Choose among pairs so that each detection and each object is in one at most: positions (M,), (M,).

    All pairs that are the first choice of both of their boxes are taken at once, then those of the rest.
    """
    alike = found.label[pairs.detection] == true.label[pairs.truth]
    order = np.lexsort((pairs.truth, pairs.detection, -found.score[pairs.detection], ~alike, -pairs.overlap))
    detection, truth = pairs.detection[order], pairs.truth[order]
    chosen: list[tuple[np.ndarray, np.ndarray]] = []
    while len(detection):
        of_detection, of_truth = (np.unique(one, return_index=True)[1] for one in (detection, truth))
        both = np.intersect1d(of_detection, of_truth)
        chosen.append((detection[both], truth[both]))
        rest = ~(np.isin(detection, detection[both]) | np.isin(truth, truth[both]))
        detection, truth = detection[rest], truth[rest]
    empty = np.zeros(0, dtype=np.int64)
    return (
        np.concatenate([d for d, _ in chosen]) if chosen else empty,
        np.concatenate([t for _, t in chosen]) if chosen else empty,
    )
