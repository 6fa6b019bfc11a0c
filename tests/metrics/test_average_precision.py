import dataclasses

import numpy as np
import pytest

from fovea.metrics.average_precision import PROTOCOLS, average_precision
from fovea.ops.box_pairs import Boxes
from helpers.random_boxes import random_boxes
from helpers.shared import shared_data


def boxes(*lines, image=0):
    """Return boxes of one image from lines of label, x1, y1, x2, y2, score or ignore."""
    table = np.array(lines, dtype=float).reshape(-1, 6)
    return Boxes(
        np.full(len(table), image), table[:, 0].astype(int), table[:, 1:5], table[:, 5], table[:, 5] > 0
    )


@pytest.mark.parametrize("seed", range(40))
def test_coco_equals_faster_coco_eval(seed):
    images, classes = 1 + seed % 9, 1 + seed % 4
    found, true = random_boxes(seed, images=images, classes=classes, most=12)
    ours = average_precision(found, true, num_classes=classes, protocol=PROTOCOLS["coco"])
    theirs = reference(found, true, images=images, classes=classes)
    for mine, their in ((ours.ap, theirs["precision"].mean(axis=1)), (ours.recall, theirs["recall"])):
        their = their[..., -1].transpose(2, 0, 1)  # (T, K, A, limits) -> (A, T, K)
        np.testing.assert_allclose(mine, np.where(their < 0, np.nan, their), atol=1e-6)


def test_the_order_of_boxes_of_other_scores_changes_nothing():
    found, true = random_boxes(3, images=6, classes=3, most=9)
    found = found._replace(score=np.random.default_rng(0).permutation(len(found.score)) / len(found.score))
    for protocol in PROTOCOLS.values():
        wanted = average_precision(found, true, num_classes=3, protocol=protocol).ap
        mixed = found.take(np.random.default_rng(1).permutation(len(found.score)))
        np.testing.assert_array_equal(
            average_precision(mixed, true, num_classes=3, protocol=protocol).ap, wanted
        )


@pytest.mark.parametrize(("protocol", "published"), [("voc12", 0.2456), ("voc07", 0.2684)])
def test_the_published_figures_of_an_independent_implementation_are_met(protocol, published):
    root = shared_data("ap_oracle_padilla")
    true = padilla(root / "groundtruths")
    found = padilla(root / "detections")
    rule = dataclasses.replace(PROTOCOLS[protocol], thresholds=(0.3,))
    measured = average_precision(found, true, num_classes=1, protocol=rule)
    assert int(measured.objects.sum()) == 15
    # the figures stand there cut or rounded to two digits of a percentage
    assert measured.mean() == pytest.approx(published, abs=1e-4)


def padilla(folder):
    lines = [
        (image, [float(word) for word in line.split()[1:]])
        for image, path in enumerate(sorted(folder.glob("*.txt")))
        for line in path.read_text().splitlines()
    ]
    numbers = np.array([n[-4:] for _, n in lines])
    score = np.array([n[0] if len(n) == 5 else 0.0 for _, n in lines])
    box = np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1)
    image = np.array([i for i, _ in lines])
    return Boxes(image, np.zeros_like(image), box, score, np.zeros(len(lines), dtype=bool))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_absent_is_unknown_and_what_is_missed_is_zero(protocol):
    true = boxes((0, 10, 10, 50, 50, 0), (2, 60, 60, 90, 90, 1))  # the only object of class 2 is ignored
    found = boxes((1, 10, 10, 50, 50, 0.9))
    ap = average_precision(found, true, num_classes=3, protocol=PROTOCOLS[protocol])
    np.testing.assert_array_equal(ap.per_class(at=0.5), [0.0, np.nan, np.nan])
    assert ap.mean(at=0.5) == 0.0
    nothing = average_precision(boxes(), boxes(), num_classes=3, protocol=PROTOCOLS[protocol])
    assert np.isnan(nothing.mean()) and np.isnan(nothing.mean_recall())
    missed = average_precision(boxes(), true, num_classes=3, protocol=PROTOCOLS[protocol])
    assert missed.mean() == 0.0 and missed.mean_recall() == 0.0


def test_a_duplicate_is_wrong_and_an_ignored_object_neither():
    true = boxes((0, 0, 0, 100, 100, 0), (0, 200, 0, 300, 100, 1))
    found = boxes(
        (0, 0, 0, 100, 100, 0.9),
        (0, 1, 0, 100, 100, 0.8),
        (0, 200, 0, 300, 100, 0.95),
        (0, 201, 0, 300, 100, 0.7),
    )
    for name, protocol in PROTOCOLS.items():
        measured = average_precision(found, true, num_classes=1, protocol=protocol)
        assert measured.mean(at=0.5) == pytest.approx(1.0), name
        first_wrong = found._replace(score=found.score[[1, 0, 2, 3]])
        assert average_precision(first_wrong, true, num_classes=1, protocol=protocol).mean(at=0.5) == 1.0, (
            name
        )
    matches = PROTOCOLS["voc12"].match(found, true, thresholds=(0.5,))
    np.testing.assert_array_equal(matches.right[0, 0], [True, False, False, False])
    np.testing.assert_array_equal(matches.ignored[0, 0], [False, False, True, True])


def test_a_crowd_takes_in_all_that_lie_within_it_in_coco_alone():
    true = boxes((0, 0, 0, 100, 100, 1), (0, 200, 200, 240, 240, 0))
    found = boxes((0, 0, 0, 20, 20, 0.9), (0, 30, 30, 60, 60, 0.8), (0, 200, 200, 240, 240, 0.5))
    assert average_precision(found, true, num_classes=1, protocol=PROTOCOLS["coco"]).mean() == pytest.approx(
        1
    )
    voc = average_precision(found, true, num_classes=1, protocol=PROTOCOLS["voc12"]).mean()
    assert voc == pytest.approx(1 / 3)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        average_precision(boxes((0, 0, 0, 9, 9, np.nan)), boxes(), num_classes=1, protocol=PROTOCOLS["coco"])


def reference(found, true, *, images, classes):
    coco_eval = pytest.importorskip("faster_coco_eval")
    data = coco_eval.COCO()
    data.dataset = {
        "images": [{"id": i} for i in range(images)],
        "categories": [{"id": k, "name": str(k)} for k in range(classes)],
        "annotations": [
            {**line, "id": n + 1, "area": line["bbox"][2] * line["bbox"][3], "iscrowd": int(crowd)}
            for n, (line, crowd) in enumerate(zip(as_coco(true), true.ignore, strict=True))
        ],
    }
    data.createIndex()
    results = data.loadRes(
        [{**line, "score": float(s)} for line, s in zip(as_coco(found), found.score, strict=True)]
    )
    run = coco_eval.COCOeval_faster(data, results, "bbox", print_function=lambda *_: None)
    run.params.imgIds, run.params.catIds = list(range(images)), list(range(classes))
    run.evaluate()
    run.accumulate()
    return run.eval


def as_coco(rows):
    corner, side = rows.box[:, :2], rows.box[:, 2:] - rows.box[:, :2]
    return [
        {"image_id": int(i), "category_id": int(k), "bbox": [*map(float, c), *map(float, s)]}
        for i, k, c, s in zip(rows.image, rows.label, corner, side, strict=True)
    ]
