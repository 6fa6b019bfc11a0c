"""Detectors of every kind beside each other: compared by average precision, timed, explained box by box."""

import csv
import json

import numpy as np
import pytest

from fovea.errors import UsageError
from helpers import runs

WORDS = [
    "model.name=mobilenetv3_small_050", "model.pretrained=false", "data.image_size=64", "data.num_workers=0",
    "data.dataset.num_train=48", "data.dataset.num_val=8", "data.dataset.num_test=16", "data.batch_size=8",
    "trainer=cpu", "trainer.max_epochs=2", "model.net.score_threshold=0.001",
]  # fmt: skip
KINDS = ("yolo", "retinanet", "faster_rcnn", "fcos", "ssdlite")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a function that gives the run directory of a kind, all tested on the same scenes."""
    folder = tmp_path_factory.mktemp("detectors")

    def run(kind):
        if not (folder / kind).is_dir():
            words = [f"experiment={kind}_scenes", *WORDS, *(["callbacks=explain"] * (kind == "retinanet"))]
            assert runs.train(words, run_dir=folder / kind, report=True) == 0, runs.output(folder / kind)
        return folder / kind

    return run


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_box_of_every_kind_is_explained(kind, trained, call, tmp_path):
    run, methods = trained(kind), ["grad_cam", "saliency"]
    call("explain", run=run, method=methods, number=2, target="top-2", output=tmp_path / "out")
    with (tmp_path / "out" / "explain.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 2 * 2 and not any(line["problem"] or line["true"] for line in lines), lines
    for line in lines:
        values = np.load(tmp_path / "out" / line["map"])
        assert values.shape == (64, 64) and np.isfinite(values).all()
        assert line["method"] == "grad_cam" or values.max() > 0  # an untrained logit may fall everywhere
        x1, y1, x2, y2 = map(float, line["box"].split())
        assert 0 <= x1 < x2 <= 64 and 0 <= y1 < y2 <= 64
    assert len({line["map"] for line in lines}) == len(lines)
    assert kind != "retinanet" or (run / "explain" / "epoch_0001.png").is_file()  # by the callback
    report = (run / "report.html").read_text()
    assert ("<h2>Anchors" in report) == (kind != "fcos") and "<h2>Speed" in report


@pytest.mark.slow
def test_boxes_that_are_not_there_and_targets_that_make_no_sense_are_said(trained, call, tmp_path, capsys):
    run = trained("yolo")
    for target, words in (("true", "several classes"), ("box-0", "box-1"), ("dgo", "nearest")):
        with pytest.raises(UsageError, match=words):
            call("explain", run=run, number=1, target=target, output=tmp_path / "no")
    call("explain", run=run, method=["saliency"], number=2, target="box-99", output=tmp_path / "out")
    assert "no such box was found for 2 of 2 images" in "".join(capsys.readouterr())
    with (tmp_path / "out" / "explain.csv").open(newline="") as file:
        assert {line["problem"] for line in csv.DictReader(file)} == {"no such box was found"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_kinds_stand_on_one_page_tested_by_average_precision_and_timed(trained, call, tmp_path):
    dirs = [trained(kind) for kind in KINDS]
    call("compare", runs=dirs, output=tmp_path, rounds=1, seconds=1, baseline="yolo_scenes")
    page = json.loads((tmp_path / "compare.json").read_text())
    assert page["metric"] == "test/ap50" and len(page["rows"]) == 5 and len(page["tests"]) == 4
    assert not any("ranked by" in note or "not timed" in note for note in page["notes"]), page["notes"]
    for row in page["rows"]:
        assert row["latency_p50_ms"] > 0 and row["images_per_s"] > 0 and row["flops"] > 0
        assert row["low"] <= row["test/ap50"] + 1e-6 and row["interval over"] == "images"
    for test in page["tests"]:
        assert test["method"] == "paired bootstrap" and test["draws"] == 1000
        assert test["low"] <= test["high"] and test["p"] <= test["adjusted"] <= 1
    own = {row["model"]: row["test/ap50"] for row in page["rows"]}
    base = own[page["baseline"]]
    for test in page["tests"]:  # the difference is that of the figures in the table
        assert test["difference"] == pytest.approx(own[test["name"]] - base, abs=1e-5)
    assert page["table"]["title"] == "AP50 per class" and len(page["table"]["rows"]) == 8
    assert "1,000 paired bootstrap draws" in (tmp_path / "compare.html").read_text()
