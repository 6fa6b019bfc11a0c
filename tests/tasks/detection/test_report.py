"""The report of a detector, whatever its test images held."""

import itertools
import json
from functools import partial

import numpy as np
import pytest

from fovea.page.blocks import Table, Text
from fovea.reading import Unreadable
from fovea.runs.report import write_report
from fovea.tasks.detection import report, report_anchors
from fovea.tasks.detection.speed import detection_times
from fovea.tasks.detection.trained_boxes import TrainedBoxes

HOSTILE = ["<script>alert(1)</script>", "_hidden", "$x^2$ & y", "nul\0l", "background", "a" * 300]


def written(tmp_path, found, true, classes, **summary):
    """Write what a report reads of a run: found (N, D, 6), true (N, M, 6)."""
    (tmp_path / "predictions").mkdir(parents=True, exist_ok=True)
    np.savez(
        tmp_path / "predictions" / "test.npz", found=np.array(found, np.float32),
        true=np.array(true, np.float32), target=np.zeros(len(found), np.int64),
    )  # fmt: skip
    facts = {"status": "finished", "data": {"classes": classes, "num_classes": len(classes)}, **summary}
    (tmp_path / "summary.json").write_text(json.dumps(facts))
    return tmp_path


def some(classes, images=12, seed=0):
    """Return detections and objects of random classes: half right, the others anywhere."""
    rng = np.random.default_rng(seed)
    start, label = rng.uniform(0, 50, (images, 4, 2)), rng.integers(0, classes, (images, 4, 1))
    box = np.concatenate([start, start + rng.uniform(8, 40, (images, 4, 2))], axis=2)
    true = np.concatenate([box, label, np.zeros_like(label)], axis=2)
    near = box + rng.normal(0, 3, box.shape) + np.array([0.0, 20.0]).repeat(2)[:, None] * np.ones(4)
    score = np.sort(rng.random((images, 4, 1)), axis=1)[:, ::-1]
    return np.concatenate([near, score, label], axis=2), true


def empty(images, boxes):
    return np.zeros((images, boxes, 6)), np.full((images, boxes, 6), np.nan)


CASES = {
    "usual": (*some(3), ["a", "b", "c"]),
    "no detections": (empty(4, 3)[0], some(2, images=4)[1], ["a", "b"]),
    "no objects": (some(2, images=4)[0], empty(4, 2)[1], ["a", "b"]),
    "nothing": (*empty(3, 2), ["a", "b"]),
    "no boxes at all": (np.zeros((3, 0, 6)), np.zeros((3, 0, 6)), ["a"]),
    "one class": (*some(1), ["a"]),
    "one image": (*some(2, images=1), ["a", "b"]),
    "many classes": (*some(80, images=30), [f"class {k}" for k in range(80)]),
    "hostile names": (*some(6), HOSTILE),
    "names unknown": (*some(3), []),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "protocol"),
    [*((case, "coco") for case in CASES), *itertools.product(["usual", "nothing"], ["voc07", "voc12"])],
)
def test_every_section_is_there_whatever_was_found(case, protocol, tmp_path):
    run = written(tmp_path, *CASES[case])
    sections = report.sections(run, protocol=protocol)
    assert [one.title for one in sections] == [
        "Average precision", "Scores per class", "Precision, recall and thresholds", "Confusion matrix",
        "Causes of errors",
    ]  # fmt: skip
    path = write_report(run, partial(report.sections, protocol=protocol))
    page = path.read_text()
    assert "could not be made" not in page and "<script>" not in page


def table(section, first):
    """Return the lines of the table of a section whose first column has this head."""
    (found,) = (b for b in section.blocks if isinstance(b, Table) and b.headers[0] == first)
    return {line[0]: line[1:] for line in found.rows}


def test_figures_stand_with_their_intervals_and_the_protocol_in_words(tmp_path):
    sections = report.sections(written(tmp_path, *CASES["usual"]))
    overall, per_class = sections[:2]
    ap, ap50 = (table(overall, "Figure")[name] for name in ("AP", "AP50"))
    assert table(overall, "Objects")["all"][1:3] == (ap[0], ap50[0])
    for value, ends in (ap, ap50):
        low, high = map(float, ends.split(" – "))
        assert low <= float(value) <= high and low < high
    words = " ".join(b.text for b in overall.blocks if isinstance(b, Text))
    assert "101 recalls" in words and "1,000 draws" in words
    assert set(table(per_class, "Class")) == {"a", "b", "c"}
    voc = report.sections(tmp_path, protocol="voc07")[0]
    assert set(table(voc, "Figure")) == {"AP"} and "11 recalls" in voc.blocks[0].text


def test_speed_and_anchors_are_shown_where_a_run_kept_them(tmp_path):
    run = written(tmp_path, *CASES["usual"], timing={"detect_ms": 4.0, "detect_without_nms_ms": 3.0})
    assert [one.title for one in report.sections(run)][-1] == "Speed"
    torch = pytest.importorskip("torch")
    kept = TrainedBoxes()
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 30], [40, 20, 60, 30]])
    boxes = [torch.tensor([[0.0, 0, 10, 12]]), torch.zeros(0, 4), torch.tensor([[0.0, 40, 50, 90]])]
    kept.add(anchors, boxes)
    kept.write(run)
    (section,) = report_anchors.sections(run)
    assert "50.0 %" in section.blocks[0].text and "2 sizes" in section.blocks[0].text
    np.savez(run / "predictions" / "anchors.npz", sides=np.zeros(3))
    with pytest.raises(Unreadable, match="anchors"):
        report_anchors.sections(run)


def test_labels_that_no_run_has_are_refused_before_anything_is_counted(tmp_path):
    found, true = some(2)
    true[0, 0, 4] = 1e8
    with pytest.raises(Unreadable, match="labels that no run has"):
        report.sections(written(tmp_path, found, true, ["a", "b"]))


def test_times_are_of_the_net_with_and_without_suppression():
    torch = pytest.importorskip("torch")
    from fovea.models.detectors._base import Candidates, Detector

    first = torch.tensor([0.0, 0, 4, 4]) + 0.1 * torch.arange(6)[:, None]  # six boxes of one object
    scores = torch.linspace(0.9, 0.4, 6)
    kept = []

    class Net(Detector):
        def raw(self, x):
            return x

        def candidates(self, raw):
            return Candidates(first[None], scores[None], torch.zeros(1, 6).long())

        def detect(self, raw, *, duplicates=False):
            found = super().detect(raw, duplicates=duplicates)
            kept.append((duplicates, int((found[..., 4] > 0).sum())))
            return found

    net = Net(num_classes=1, score_threshold=0.1, nms_threshold=0.5, max_detections=10)
    times = detection_times(net, torch.zeros(1, 3, 8, 8))
    assert set(times) == {"detect_ms", "detect_without_nms_ms"} and min(times.values()) > 0
    assert set(kept) == {(False, 1), (True, 6)}
