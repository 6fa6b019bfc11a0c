import numpy as np
import pytest
from PIL import Image

from fovea.tasks.classification.calibration import draw, reliability, sections
from helpers.toy_runs import summary


def write(run, target, probs):
    ids = np.array([str(i) for i in range(len(target))], dtype="U8")
    np.savez(run / "predictions" / "test.npz", ids=ids, target=target, probs=probs.astype(np.float32))


def html(run):
    return "".join(section.html() for section in sections(run))


def test_bins_hold_means_of_what_falls_into_them():
    confidence = np.array([0.2, 0.5, 0.51, 0.75, 1.0])
    found = reliability(confidence, np.array([0, 1, 1, 0, 1]), bins=4)
    assert found.images.tolist() == [1, 1, 2, 1]
    np.testing.assert_allclose(found.accuracy, [0, 1, 0.5, 1])
    np.testing.assert_allclose(found.confidence, [0.2, 0.5, 0.63, 1.0])
    assert found.ece == pytest.approx((0.2 + 0.5 + 2 * 0.13 + 0) / 5)
    assert found.mean == pytest.approx((0.6, confidence.mean()))


def test_the_section_says_how_far_confidence_and_accuracy_lie_apart(make_run):
    run = make_run(record=summary())
    probs = np.tile([0.8, 0.1, 0.1], (10, 1))
    write(run, np.array([0] * 5 + [1] * 5), probs)
    found = html(run)
    assert "error 0.3000" in found and "overconfident, by 30.0" in found
    assert "<td class=num>1.000</td><td class=num>0.800</td><td class=num>−0.200</td>" in found
    assert found.count("<td class=num>–</td>") == 3  # the third class has no image
    with Image.open(run / "figures" / "reliability.png") as picture:
        assert picture.height > picture.width > 600


def test_the_gap_has_the_colour_of_its_side(tmp_path):
    # anti-aliasing aside, the fill is there only on the side that it stands for
    orange, green = (240, 185, 143), (158, 211, 187)
    for accuracy, color, other in ((0.2, orange, green), (1.0, green, orange)):
        hits = np.arange(100) < 100 * accuracy
        found = reliability(np.full(100, 0.6), hits)
        path = draw(found, tmp_path / "x.png", intervals=[(0.0, 0.0)] * 15)
        pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
        counts = [(pixels == c).all(1).sum() for c in (color, other)]
        assert counts[0] > 500 and counts[1] == 0


def test_nan_probabilities_are_left_out_and_absent_files_give_nothing(make_run):
    run = make_run(record=summary())
    probs = np.eye(3)[[0, 1, 2, 0]]
    probs[3] = np.nan
    write(run, np.array([0, 1, 2, 2]), probs)
    assert "error 0.0000" in html(run)
    write(run, np.array([0, 1]), np.full((2, 3), np.nan))
    assert sections(run) == []
    (run / "predictions" / "test.npz").unlink()
    assert sections(run) == []


def test_many_classes_fold(make_run):
    run = make_run(record=None)
    write(run, np.arange(30), np.eye(30) * 0.9 + 0.1 / 30)
    assert "<details>" in html(run) and "All 30 classes" in html(run)
