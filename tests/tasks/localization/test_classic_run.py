"""Every command on runs of detectors that are fitted without gradients."""

import csv
import json

import numpy as np
import pytest
import torch

from helpers import runs

DATA = [
    "data=scenes", "data.dataset.annotation=all", "data.num_classes=8", "data.dataset.max_objects=1",
    "data.dataset.difficulty=0", "data.targets=[label,boxes,labels]", "data.image_size=48",
    "data.num_workers=0", "data.batch_size=16", "data.dataset.num_train=40", "data.dataset.num_val=16",
    "data.dataset.num_test=20", "data.train_fraction=null", "trainer=cpu", "trainer.max_epochs=2",
]  # fmt: skip
EXPERIMENTS = {
    "template_boxes_caltech3": ["model.net.side=12"],
    "hog_svm_boxes_caltech3": ["model.net.side=16", "model.net.cell=4"],
    "haar_faces_caltech3": ["model.net.scale_factor=1.5"],
}


def given(name):
    return [f"experiment={name}", *DATA, *EXPERIMENTS[name]]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_command_takes_the_run_and_what_was_killed_ends_the_same(name, call, tmp_path):
    run, killed = tmp_path / "run", tmp_path / "killed"
    assert runs.train(given(name), run_dir=run, report=True) == 0, runs.output(run)
    figures = json.loads((run / "summary.json").read_text())
    assert figures["model"]["params"] == 0 and figures["metrics"]["test/loss"] > 0
    assert "Label and box" in (run / "report.html").read_text()
    assert runs.train(given(name), run_dir=killed, kill=("batch", 1)) != 0
    assert runs.train(["resume=true"], run_dir=killed) == 0, runs.output(killed)
    for which in ("last", "best"):
        one, other = (runs.checkpoint(d, which)["state_dict"] for d in (run, killed))
        assert one.keys() == other.keys()
        for key in one:
            torch.testing.assert_close(one[key], other[key], msg=key)
    call("eval", run=run)
    found = json.loads((run / "eval_test.json").read_text())["metrics"]
    assert found["test/iou"] == pytest.approx(figures["metrics"]["test/iou"], abs=1e-6)
    call("predict", run=run, input="test", output=tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        boxes = [[float(line[k]) for k in ("x1", "y1", "x2", "y2")] for line in csv.DictReader(file)]
    np.testing.assert_allclose(boxes, np.load(run / "predictions" / "test.npz")["box"], atol=0.02)
    if name != "haar_faces_caltech3":  # its steps have no gradient
        call("explain", run=run, input="test", method="saliency", number=1, output=tmp_path / "why")
    call("compare", runs=[str(run), str(killed)], output=tmp_path / "compared", timing=False)
    with pytest.raises(Exception, match=r"format=|refused"):
        call("export", run=run, format="onnx")
