"""The ranking of methods, where it is known which of them are right."""

import csv

import pytest

from fovea.explain.analyses.faithfulness.analysis import FaithfulnessAnalysis
from helpers.toy_quarter import COUNT, model, refused, right, wrong

pytestmark = pytest.mark.slow
METHODS = {"wrong": wrong, "refused": refused, "right": right}


def table(folder):
    with (folder / "faithfulness.csv").open(encoding="utf-8") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def test_right_maps_win_and_what_does_not_look_is_between(tmp_path):
    blocks = FaithfulnessAnalysis(steps=8)(model(METHODS), tmp_path)
    found = table(tmp_path)
    assert next(iter(found)) == "right" and [*found][-1] == "wrong"
    assert set(found) == {"right", "wrong", "random", "centre"}
    page = "".join(block.html() for block in blocks)
    assert "refused: Quarter" in page and "± " in page
    for region in ("box", "mask"):
        assert (float(found["right"][region]), float(found["wrong"][region])) == (1, 0)
        assert int(found["right"][f"{region}_images"]) == COUNT - 1  # of one the class is not known
    assert float(found["right"]["deletion"]) < float(found["centre"]["deletion"])
    low, high = (float(found["right"][f"insertion_{end}"]) for end in ("low", "high"))
    assert low <= float(found["right"]["insertion"]) <= high
    with (tmp_path / "faithfulness_images.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * (COUNT - 1) and {row["id"] for row in rows} == {
        f"image {i}" for i in (0, 1, 2, 4)
    }


def test_the_tolerance_is_that_of_the_paper_scaled_to_the_image(tmp_path):
    analysis = FaithfulnessAnalysis()
    assert [analysis.reach(size) for size in ((224, 300), (64, 64), (16, 16))] == [15, 4, 1]
    FaithfulnessAnalysis(steps=2, tolerance=16)(model({"wrong": wrong}), tmp_path)
    assert float(table(tmp_path)["wrong"]["box"]) == 1


def test_without_regions_there_is_no_pointing_game_and_limits_hold(tmp_path):
    analysis = FaithfulnessAnalysis(steps=2, limit=3)
    blocks = analysis(model({"right": right}, target="predicted", boxes=False, masks=False), tmp_path)
    assert "maximum in" not in "".join(block.html() for block in blocks)
    assert table(tmp_path)["right"]["images"] == "3" and table(tmp_path)["right"]["box"] == ""


def test_two_runs_agree(tmp_path):
    kept = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        FaithfulnessAnalysis(steps=3)(model({"right": right}), tmp_path / name)
        kept.append((tmp_path / name / "faithfulness_images.csv").read_text())
    assert kept[0] == kept[1]


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"method=\[grad_cam,faithfulness\]"):
        FaithfulnessAnalysis()(model({}), tmp_path)
    with pytest.raises(ValueError, match="see target="):
        FaithfulnessAnalysis()(model({"right": right}, known=False), tmp_path)
    with pytest.raises(ValueError, match="steps=0"):
        FaithfulnessAnalysis(steps=0)
