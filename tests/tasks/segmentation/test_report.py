import numpy as np
import pytest

from fovea.page import annotations
from fovea.tasks.segmentation import scores
from fovea.tasks.segmentation.report import sections

CLASSES = ["background", "cat <b>", "bird"]


def write(run, *, matrix=((50, 10, 0), (5, 35, 0), (0, 0, 0))):
    """Write what two images gave that share the pixels of `matrix`."""
    matrix = np.array(matrix)
    halves = [matrix // 2, matrix - matrix // 2]
    rows = {
        "right": np.array([np.diag(m) for m in halves]), "found": np.array([m.sum(0) for m in halves]),
        "target": np.array([m.sum(1) for m in halves]),
    }  # fmt: skip
    score = scores.mean(scores.iou(rows))
    path = run / "predictions" / "test.npz"
    np.savez(path, ids=np.array(["a.png", "b.png"]), **rows, score=score, total_confusion=matrix)


@pytest.fixture
def run(make_run):
    path = make_run(record={"data": {"classes": CLASSES}}, test=False)
    write(path)
    return path


def test_scores_leave_absent_classes_out(run):
    html = "\n".join(section.html() for section in sections(run))
    iou = [50 / 65, 35 / 50]
    assert f"Mean IoU {np.mean(iou):.4f}" in html and f"mean Dice {np.mean([100 / 115, 70 / 85]):.4f}" in html
    assert "85.0 %" in html and f"{iou[1]:.3f}" in html
    assert "– absent" in html and "means: bird" in html
    assert "cat &lt;b&gt;" in html and "<b>" not in html
    assert "16.7 %" in html  # background predicted as cat
    assert (run / "figures" / "confusion_matrix.png").is_file()


def test_a_run_without_predictions_or_with_damaged_ones_says_so(run, make_run):
    assert sections(make_run(name="none", test=False)) == []
    write(run, matrix=np.zeros((3, 3), int))
    assert "is ignored" in sections(run)[0].html()
    (run / "predictions" / "test.npz").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"test\.npz cannot be read"):
        sections(run)


def test_colours_are_the_data_sets_own_then_voc():
    table = annotations.colours([[9, 8, 7]])
    assert table.shape == (256, 3) and table[0].tolist() == [9, 8, 7] and table[1].tolist() == [128, 0, 0]
    assert annotations.colours()[0].tolist() == [0, 0, 0] and annotations.colours()[255].tolist() == [
        224,
        224,
        192,
    ]


def test_pictures_show_what_they_should():
    image, table = np.full((4, 6, 3), 100, np.uint8), annotations.colours()
    mask = np.zeros((4, 6), np.uint8)
    mask[:, 3:] = 1
    drawn = annotations.overlay(image, mask, table, background=True)
    assert (drawn[:, :3] == 100).all() and (drawn[:, 3] == table[1]).all() and (drawn[:, 5] != 100).all()
    assert (annotations.overlay(image, mask, table, background=False)[:, 0] != 100).all()
    truth = mask.copy()
    truth[0], truth[3, 0] = 255, 1
    wrong = annotations.errors(image, truth, mask)
    assert (wrong[0] == 255).all() and (wrong[3, 0] == annotations.WRONG).all()
    assert ((wrong == annotations.WRONG).all(2)).sum() == 1
    names = annotations.legend([0, 1, 255, 7], ["background", "a" * 90], table, width=120)
    assert names.shape[1] == 120 and names.shape[0] > 3 * annotations.LINE
    np.testing.assert_array_equal(annotations.stretched(mask, (2, 2)), [[0, 1], [0, 1]])
