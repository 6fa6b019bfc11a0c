import numpy as np
import pytest

from fovea.metrics.average_precision import PROTOCOLS
from fovea.metrics.box_confusion import box_confusion
from fovea.metrics.box_curves import at_thresholds, precision_recall
from fovea.metrics.judged_boxes import judge
from fovea.ops.box_pairs import Boxes, overlapping
from helpers.random_boxes import random_boxes


def boxes(*lines):
    """Return boxes of one image: class, x1, x2 (y from 0 to 10), score or 1 to be ignored."""
    table = np.array(lines, dtype=float).reshape(-1, 4)
    box = np.stack([table[:, 1], 0 * table[:, 1], table[:, 2], 0 * table[:, 1] + 10], axis=1)
    return Boxes(np.zeros(len(table), int), table[:, 0].astype(int), box, table[:, 3], table[:, 3] == 1)


def test_rows_are_true_columns_predicted_and_the_last_of_each_is_the_background():
    true = boxes((0, 0, 10, 0), (1, 20, 30, 0), (0, 40, 50, 0), (1, 80, 90, 1))
    found = boxes(
        (0, 1, 10, 0.6),  # right, overlaps most
        (1, 2, 10, 0.9),  # the same object: one detection for each
        (0, 20, 30, 0.8),  # class 1 taken for class 0
        (0, 60, 70, 0.7),  # of the background
        (1, 80, 90, 0.7),  # on what is to be ignored
        (0, 40, 50, 0.4),  # below the threshold
    )
    matrix = box_confusion(found, true, num_classes=2, threshold=0.5, overlap=0.5)
    np.testing.assert_array_equal(matrix, [[1, 0, 1], [1, 0, 0], [1, 1, 0]])
    assert not box_confusion(boxes(), boxes(), num_classes=2, threshold=0.5, overlap=0.5).any()


@pytest.mark.parametrize("seed", range(8))
def test_pairs_are_those_that_are_chosen_one_after_the_other(seed):
    found, true = random_boxes(seed, images=8, classes=3, most=8)
    matrix = box_confusion(found, true, num_classes=3, threshold=0.3, overlap=0.4)
    kept = found.take(found.score >= 0.3)
    pairs = overlapping(kept.of_one_class(), true.of_one_class(), at_least=0.4)
    lines = sorted(
        zip(*pairs, strict=True),
        key=lambda p: (-p[2], kept.label[p[0]] != true.label[p[1]], -kept.score[p[0]], p[0], p[1]),
    )
    used, met, expected = set(), set(), np.zeros((4, 4), int)
    for d, g, _ in lines:
        if not true.ignore[g] and d not in used and g not in met:
            used.add(d)
            met.add(g)
            expected[true.label[g], kept.label[d]] += 1
    over_ignored = {d for d, g, _ in lines if true.ignore[g]}
    for d in set(range(len(kept.score))) - used - over_ignored:
        expected[3, kept.label[d]] += 1
    for g in np.flatnonzero(~true.ignore):
        expected[true.label[g], 3] += g not in met
    np.testing.assert_array_equal(matrix, expected)
    assert matrix[:3].sum() == (~true.ignore).sum()  # every object stands in one place


def test_thresholds_keep_what_counting_finds_and_the_best_is_the_lowest_of_equal_ones():
    found, true = random_boxes(4, images=20, classes=4, most=6)  # the last class has no object
    judged = judge(found, true, num_classes=4, protocol=PROTOCOLS["coco"])
    at = at_thresholds(judged)
    for threshold in (0.0, 0.3, 0.299, 0.301, 1.0):
        (i,) = np.flatnonzero(np.isclose(at.thresholds, threshold))
        for k in range(3):
            own = (judged.found.label == k) & (judged.found.score >= threshold - 1e-12)
            hits, wrong = int((own & judged.right).sum()), int((own & judged.wrong).sum())
            objects = int((~true.ignore & (true.label == k)).sum())
            assert at.f1[k, i] == pytest.approx(2 * hits / (hits + wrong + objects))
            assert at.recall[k, i] == pytest.approx(hits / objects)
            assert hits + wrong == 0 or at.precision[k, i] == pytest.approx(hits / (hits + wrong))
    assert np.isnan(at.f1[3]).all() and not np.isnan(at.mean_f1).any()
    best = at.best(at.f1[0])
    assert at.f1[0, best] == at.f1[0].max() and (at.f1[0, :best] < at.f1[0, best]).all()
    assert at.best(at.f1[3]) is None and at.best(np.zeros(3)) is None
    curves = precision_recall(judged)
    assert curves[3] is None and curves[0].recall[-1] == pytest.approx(at.recall[0, 0])
