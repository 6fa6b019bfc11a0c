import numpy as np
import pytest

from fovea.compare.examples import PairedExamples
from fovea.compare.types import ModelGroup
from fovea.compare.verdicts import paired_tests
from fovea.runs.read import read_run
from fovea.tasks.segmentation import scores
from fovea.tasks.segmentation.view import MaskView

COUNT, PIXELS = 12, 100
CLASSES = ["background", "cat", "never"]
TASK = PairedExamples(MaskView(classes=CLASSES), shown=3)


@pytest.fixture
def make_row(make_run):
    def make(name, right, *, truth=60):
        """Make a run that finds `right` of the cat's pixels in each image, and no false ones."""
        run = make_run(name=name, record={"data": {"classes": CLASSES}}, test=False)
        right = np.asarray(right)
        true = np.tile([PIXELS - truth, truth, 0], (COUNT, 1))
        found = np.stack([PIXELS - right, right, 0 * right], 1)
        hits = np.stack([0 * right + PIXELS - truth, right, 0 * right], 1)
        true[3] = found[3] = hits[3] = 0  # nothing of it counts
        order = np.random.default_rng(len(name)).permutation(COUNT)
        ids = np.array([f"{i:02}.png" for i in range(COUNT)])
        rows = {"ids": ids, "right": hits, "found": found, "target": true}
        rows["score"] = scores.mean(scores.iou(rows))
        rows = {key: values[order] for key, values in rows.items()}
        np.savez(run / "predictions" / "test.npz", **rows, total_confusion=np.eye(COUNT))
        run = read_run(run)
        return ModelGroup(name, [run], [TASK.read(run)])

    return make


def test_values_are_the_mean_iou_of_each_image(make_row):
    tested = make_row("a", np.full(COUNT, 30)).scores[0]
    assert len(tested.ids) == COUNT - 1 and "03.png" not in tested.ids
    np.testing.assert_allclose(tested.values, (40 / 70 + 30 / 60) / 2)


def test_classes_differences_and_pictures(make_row, tmp_path):
    good = make_row("good", np.full(COUNT, 50))
    bad = make_row("bad", np.where(np.arange(COUNT) < 2, 55, 10))
    asked = []
    title, headers, lines = TASK.table([good, bad])
    assert title == "IoU per class" and headers == ["Class", "Pixels", "good", "bad"]
    assert [line[0] for line in lines] == CLASSES and lines[2][2:] == [None, None]
    assert lines[1][2] == pytest.approx(50 / 60) and lines[1][1] == "60.00 %"
    (test,) = paired_tests([good, bad], good)
    assert test.difference < -0.3 and test.adjusted < 0.05

    def pictures(ids):
        asked.extend(ids)
        return {name: np.full((20, 30, 1), 90, np.uint8) for name in ids}

    (section,) = TASK.sections([good, bad], good, pictures, tmp_path)
    html = section.html()
    assert "good better than bad by 0.1 or more: 9 of 11 test images" in html
    assert "bad better than good by 0.1 or more: no image." in html
    assert len(asked) == 3 and "cat 0.83 / 0.17" in html
    assert [p.name for p in (tmp_path / "figures").glob("*.png")] == ["good_right_bad_wrong.png"]


def test_what_cannot_be_read_is_said(make_row, tmp_path):
    good, bad = make_row("good", np.full(COUNT, 50)), make_row("bad", np.full(COUNT, 10))

    def pictures(ids):
        raise FileNotFoundError("no data")

    (section,) = TASK.sections([good, bad], good, pictures, tmp_path)
    assert "no data" in section.html()
    assert TASK.sections([good], good, pictures, tmp_path) == []
    path = bad.runs[0].dir / "predictions" / "test.npz"
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"test\.npz cannot be read"):
        TASK.read(bad.runs[0])
    path.unlink()
    assert TASK.read(bad.runs[0]) is None
