"""Every command on a run that finds one box beside the label."""

import csv
import json

import numpy as np
import pytest

from helpers import runs

TRAINING = [
    "experiment=simple_boxes_caltech3", "data=scenes", "data.dataset.annotation=all", "data.num_classes=8",
    "data.dataset.max_objects=1", "data.dataset.difficulty=0", "data.targets=[label,boxes,labels]",
    "data.image_size=32", "data.num_workers=0", "data.batch_size=16", "data.dataset.num_train=64",
    "data.dataset.num_val=16", "data.dataset.num_test=20", "trainer=cpu", "trainer.max_epochs=1",
]  # fmt: skip


@pytest.fixture(scope="session")
def localization_run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("localization") / "run"
    assert runs.train(TRAINING, run_dir=run_dir, report=True) == 0, runs.output(run_dir)
    return run_dir


@pytest.mark.slow
def test_figures_of_a_run_follow_from_its_boxes(localization_run):
    arrays = np.load(localization_run / "predictions" / "test.npz")
    figures = json.loads((localization_run / "summary.json").read_text())["metrics"]
    shared = np.clip(
        np.minimum(arrays["box"][:, 2:], arrays["true_box"][:, 2:])
        - np.maximum(arrays["box"][:, :2], arrays["true_box"][:, :2]), 0, None,
    ).prod(axis=1)  # fmt: skip
    area = [(b[:, 2:] - b[:, :2]).prod(axis=1) for b in (arrays["box"], arrays["true_box"])]
    assert (shared / (sum(area) - shared)).mean() == pytest.approx(figures["test/iou"], abs=1e-5)
    right = arrays["predicted"] == arrays["target"]
    assert right.mean() == pytest.approx(figures["test/acc"], abs=1e-6)
    html = (localization_run / "report.html").read_text()
    assert all(title in html for title in ("Label and box", "Scores per class", "Worst boxes"))


@pytest.mark.slow
def test_every_command_takes_the_run(localization_run, call, tmp_path):
    call("eval", run=localization_run)
    found = json.loads((localization_run / "eval_test.json").read_text())
    figures = json.loads((localization_run / "summary.json").read_text())["metrics"]
    assert found["metrics"]["test/iou"] == pytest.approx(figures["test/iou"], abs=1e-6)
    call("predict", run=localization_run, input="test", output=tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    kept = np.load(localization_run / "predictions" / "test.npz")
    assert len(lines) == 20
    for line, box in zip(lines, kept["box"], strict=True):
        written = [float(line[k]) for k in ("x1", "y1", "x2", "y2")]
        np.testing.assert_allclose(written, box, atol=0.02)
    call("explain", run=localization_run, input="test", method="grad_cam", number=2, output=tmp_path / "why")
    call("export", run=localization_run, format="torch_export")
