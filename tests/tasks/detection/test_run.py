"""Every command on a run that finds boxes."""

import csv
import json
from collections import defaultdict

import numpy as np
import pytest
import torch
from PIL import Image

from fovea.metrics.detection import measure
from fovea.tasks.detection.view import numbered
from helpers import runs
from helpers.formats_own_boxes import OBJECTS, write_voc

TRAINING = [
    "experiment=yolo_scenes", "model.name=mobilenetv3_small_050", "model.pretrained=false",
    "data.image_size=64", "data.num_workers=0", "data.dataset.num_train=32", "data.dataset.num_val=8",
    "data.dataset.num_test=20", "data.batch_size=8", "trainer=cpu", "trainer.max_epochs=2",
    "model.net.score_threshold=0.0001", "report.view.threshold=0.0001",
]  # fmt: skip


@pytest.fixture(scope="session")
def detection_run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("detection") / "run"
    assert runs.train(TRAINING, run_dir=run_dir, report=True) == 0, runs.output(run_dir)
    return run_dir


@pytest.mark.slow
def test_figures_of_a_run_follow_from_its_detections(detection_run):
    arrays = np.load(detection_run / "predictions" / "test.npz")
    figures = json.loads((detection_run / "summary.json").read_text())["metrics"]
    found = measure(*numbered(arrays), num_classes=8, protocol="coco")
    assert found.mean() == pytest.approx(figures["test/ap"], abs=1e-6)
    assert found.mean(at=0.5) == pytest.approx(figures["test/ap50"], abs=1e-6)
    assert arrays["score"].mean() == pytest.approx(figures["test/image_f1"], abs=1e-6)
    assert {"test/loss_confidence", "test/loss_offset", "test/loss_class"} <= figures.keys()
    html = (detection_run / "report.html").read_text()
    assert all(title in html for title in ("Average precision", "Scores per class", "Worst images"))


@pytest.mark.slow
def test_predictions_have_a_line_for_each_box_in_pixels_of_the_photo(detection_run, call, tmp_path):
    (tmp_path / "photos").mkdir()
    for i, size in enumerate([(64, 64), (150, 90), (1, 1)]):
        noise = np.random.default_rng(i).integers(0, 255, (*size, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / f"{i}.png")
    call("predict", run=detection_run, input=tmp_path / "photos", output=tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    boxes = defaultdict(list)
    for line in lines:
        own = boxes[line["path"].rpartition("/")[2]]
        if line["class"]:
            own.append([float(line[corner]) for corner in ("x1", "y1", "x2", "y2")])
    assert set(boxes) == {"0.png", "1.png", "2.png"} and boxes["1.png"]
    for name, sides in (("0.png", (64, 64)), ("1.png", (90, 150)), ("2.png", (1, 1))):
        found = np.array(boxes[name]).reshape(-1, 4)
        assert (found >= 0).all() and (found <= [*sides, *sides]).all()
    assert (tmp_path / "out" / "annotated" / "1.jpg").is_file()


@pytest.mark.slow
def test_eval_measures_the_same(detection_run, call):
    call("eval", run=detection_run, split=["val", "test"])
    found = json.loads((detection_run / "eval_test.json").read_text())
    figures = json.loads((detection_run / "summary.json").read_text())["metrics"]
    assert found["metrics"]["test/ap50"] == pytest.approx(figures["test/ap50"], abs=1e-6)


@pytest.mark.slow
def test_resume_ends_where_an_uninterrupted_run_does(detection_run, tmp_path):
    parts = tmp_path / "parts"
    assert runs.train(TRAINING, run_dir=parts, kill=("batch", 1)) != 0
    assert runs.train(["resume=true"], run_dir=parts) == 0, runs.output(parts)
    ends = [json.loads((run / "summary.json").read_text())["metrics"] for run in (detection_run, parts)]
    assert ends[0] == ends[1]


@pytest.mark.slow
def test_frozen_statistics_are_those_of_the_backbone_alone(tmp_path):
    words = [w for w in TRAINING if "max_epochs" not in w and "yolo" not in w and "score_threshold" not in w]
    words += ["experiment=ssdlite_scenes", "trainer.max_epochs=2", "task.freeze_batch_norm=true"]
    assert runs.train(words, run_dir=tmp_path / "run") == 0, runs.output(tmp_path / "run")
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    means = {name: value for name, value in state.items() if name.endswith("running_mean")}
    of_backbone = [name for name in means if ".backbone.maps." in name]
    assert of_backbone and not any(bool(means[name].any()) for name in of_backbone)  # as they began
    assert all(bool(means[name].any()) for name in means.keys() - set(of_backbone))


@pytest.mark.slow
def test_other_classes_start_from_a_run_and_every_command_takes_the_new_one(detection_run, call, tmp_path):
    write_voc(tmp_path / "own", {f"{k}{i}": found for k, found in OBJECTS.items() for i in range(3)})
    words = [w for w in TRAINING if not w.startswith(("data.", "experiment="))] + ["experiment=yolo_bccd"]
    words += ["data=voc_folder", f"data.root={tmp_path / 'own'}", "data.image_size=64", "data.batch_size=2"]
    words += ["data.num_workers=0", "data.val_fraction=0", "data.test_fraction=0", "trainer.max_epochs=1"]
    words += [f"init.checkpoint={detection_run}", "finetune.trainable_names=[head.*]"]
    run_dir = tmp_path / "run"
    assert runs.train(words, run_dir=run_dir) == 0, runs.output(run_dir)
    assert "2 images a step are too few" in runs.output(run_dir)  # for statistics that come from another run
    with (run_dir / "init.csv").open(newline="") as file:
        states = {row["tensor"]: row["state"] for row in csv.DictReader(file)}
    assert {name for name, state in states.items() if state == "new"} == {"head.3.weight", "head.3.bias"}
    files = [run_dir / "checkpoints" / "last.ckpt", detection_run / "checkpoints" / "best.ckpt"]
    own, source = (torch.load(file, weights_only=True)["state_dict"] for file in files)
    frozen = [f"net.{name}" for name, state in states.items() if state == "loaded" and "map." in name]
    assert frozen and all(torch.equal(own[name], source[name]) for name in frozen)
    call("predict", run=run_dir, input=tmp_path / "own" / "JPEGImages", output=tmp_path / "out")
    assert (tmp_path / "out" / "predictions.csv").is_file()
