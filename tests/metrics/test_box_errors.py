import numpy as np
import pytest

from fovea.metrics.average_precision import PROTOCOLS, average_precision
from fovea.metrics.box_errors import CAUSES, box_errors
from fovea.metrics.judged_boxes import judge
from fovea.ops.box_pairs import Boxes, overlapping
from helpers.random_boxes import random_boxes

COCO = PROTOCOLS["coco"]
NEAR = (0.0, 0, 10, 10)
OFF = (0.0, 5.5, 10, 15.5)  # an overlap of 0.29 with NEAR
FAR = (50.0, 50, 60, 60)
TWICE = (51 + 50 * 2 / 3) / 101  # right, wrong, right of two objects


def boxes(*lines):
    """Return boxes of one image: class, corners, score."""
    table = np.array([(k, *box, score) for k, box, score in lines], dtype=float).reshape(-1, 6)
    none = np.zeros(len(table), dtype=int)
    return Boxes(none, table[:, 0].astype(int), table[:, 1:5], table[:, 5], none.astype(bool))


CASES = {  # true boxes, detections, the average precision as it is
    "classification": ([(0, NEAR), (1, FAR)], [(1, FAR, 0.9), (1, NEAR, 0.8)], 0.5),
    "localisation": ([(0, NEAR)], [(0, OFF, 0.9)], 0.0),
    "both": ([(0, NEAR), (1, FAR)], [(1, OFF, 0.9), (0, NEAR, 0.8), (1, FAR, 0.7)], 0.75),
    "duplicate": ([(0, NEAR), (0, FAR)], [(0, NEAR, 0.9), (0, NEAR, 0.8), (0, FAR, 0.7)], TWICE),
    "background": ([(0, NEAR)], [(0, FAR, 0.9), (0, NEAR, 0.8)], 0.5),
    "missed": ([(0, NEAR), (0, FAR)], [(0, NEAR, 0.9)], 51 / 101),
}


@pytest.mark.parametrize("cause", CASES)
def test_each_cause_alone_is_found_and_mending_it_alone_makes_all_right(cause):
    true, found, ap = CASES[cause]
    true = boxes(*((*one, 1.0) for one in true))
    errors = box_errors(judge(boxes(*found), true, num_classes=2, protocol=COCO))
    assert errors.ap == pytest.approx(ap)
    assert {name: errors.number[name] for name in (*CAUSES, "missed")} == {
        name: int(name == cause) for name in (*CAUSES, "missed")
    }
    assert errors.without[cause] == pytest.approx(1.0) and errors.cost(cause) == pytest.approx(1 - ap)
    others = {name for name in (*CAUSES, "missed") if name != cause}
    assert all(errors.cost(name) == pytest.approx(0.0) for name in others)


@pytest.mark.parametrize("protocol", ["coco", "voc12"])
@pytest.mark.parametrize("seed", range(6))
def test_causes_and_costs_equal_mending_the_boxes_themselves_and_measuring_anew(seed, protocol):
    found, true = random_boxes(seed, images=12, classes=4, most=7)
    found = found._replace(score=(np.random.default_rng(seed).permutation(len(found.score)) + 1) / 1e4)
    rule = PROTOCOLS[protocol]
    judged = judge(found, true, num_classes=4, protocol=rule)
    errors = box_errors(judged)
    cause, target = naive(judged)
    assert [int((cause == name).sum()) for name in CAUSES] == [errors.number[name] for name in CAUSES]
    known = np.bincount(true.label[~true.ignore], minlength=4) > 0

    def measured(found, true):
        ap = average_precision(found, true, num_classes=4, protocol=rule).per_class(at=0.5)
        return float(np.where(np.isnan(ap), 1.0, ap)[known].mean())

    assert errors.ap == pytest.approx(measured(judged.found, true))
    everything = np.ones(len(judged.found.score), dtype=bool)
    for name in ("both", "duplicate", "background"):
        assert errors.without[name] == pytest.approx(measured(judged.found.take(cause != name), true))
    for name in ("classification", "localisation"):
        mended, keep, seen = judged.found, everything.copy(), set()
        box, label = mended.box.copy(), mended.label.copy()
        for d in np.flatnonzero(cause == name):  # the most certain comes first
            g = int(target[d])
            if judged.missed[g] and g not in seen:
                box[d], label[d] = true.box[g], true.label[g]
            else:
                keep[d] = False
            seen.add(g)
        mended = mended._replace(box=box, label=label).take(keep)
        assert errors.without[name] == pytest.approx(measured(mended, true)), name
    usable = {int(g) for g, c in zip(target, cause, strict=True) if c in CAUSES[:2]}
    lost = np.array([bool(m) and g not in usable for g, m in enumerate(judged.missed)])
    assert errors.number["missed"] == lost.sum()
    assert errors.without["missed"] == pytest.approx(measured(judged.found, true.take(~lost)))
    hits = true.take(~judged.missed)
    assert errors.without["false negative"] == pytest.approx(measured(judged.found, hits))
    right = judged.found.take(~judged.wrong)
    assert errors.without["false positive"] == pytest.approx(measured(right, true))


def naive(judged):
    """Give each wrong detection a cause by the authors' rules, one after the other."""
    found, true = judged.found, judged.true
    pairs = overlapping(
        found.of_one_class(), true.of_one_class(), at_least=0.0, inclusive=judged.protocol.inclusive
    )
    cause = np.full(len(found.score), "", dtype=object)
    target = np.full(len(found.score), -1)
    for d in np.flatnonzero(judged.wrong):
        own, other = (0.0, -1), (0.0, -1)
        for g, overlap in zip(*(c[pairs.detection == d] for c in (pairs.truth, pairs.overlap)), strict=True):
            if true.ignore[g]:
                continue
            if true.label[g] == found.label[d]:
                own = max(own, (overlap, g), key=lambda one: one[0])
            else:
                other = max(other, (overlap, g), key=lambda one: one[0])
        if 0.1 <= own[0] < 0.5:
            cause[d], target[d] = "localisation", own[1]
        elif other[0] >= 0.5:
            cause[d], target[d] = "classification", other[1]
        elif own[0] >= 0.5:
            cause[d] = "duplicate"
        elif other[0] < 0.1:
            cause[d] = "background"
        else:
            cause[d] = "both"
    return cause, target


def test_without_objects_or_detections_there_is_nothing_to_mend():
    nothing = boxes()
    errors = box_errors(judge(nothing, nothing, num_classes=2, protocol=COCO))
    assert np.isnan(errors.ap) and set(errors.number.values()) == {0}
    errors = box_errors(judge(nothing, boxes((0, NEAR, 1.0)), num_classes=2, protocol=COCO))
    assert errors.ap == 0.0 and errors.cost("missed") == 1.0
