"""Every command on a run whose output is a class for each pixel."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from fovea.config import cli
from fovea.data.datasets.scenes import Scenes
from fovea.data.images import read_image
from fovea.data.preprocess import Preprocess
from fovea.engine.trained import open_run
from fovea.errors import UsageError
from fovea.ops.segmentation import iou_per_class
from helpers import processes, runs

SIZES = [(32, 32), (50, 90), (70, 33)]
TRAINING = [
    "experiment=mlp_digits", "data=scenes", "task=segmentation", "model=unet_small",
    "model.net.width=4", "model.net.depth=2", "augment=none", "data.image_size=32",
    "data.targets=[mask]", "data.dataset.annotation=masks", "data.dataset.difficulty=0", "data.num_workers=0",
    "data.dataset.num_train=32", "data.dataset.num_val=8", "data.dataset.num_test=20", "data.batch_size=8",
    "trainer=cpu", "trainer.max_epochs=1", "optimizer.lr=0.01",
]  # fmt: skip


@pytest.fixture(scope="session")
def segmentation_run(tmp_path_factory):
    """Train a tiny U-Net for one epoch, with its report."""
    run_dir = tmp_path_factory.mktemp("segmentation") / "run"
    assert runs.train(TRAINING, run_dir=run_dir, report=True) == 0, runs.output(run_dir)
    return run_dir


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, size in enumerate(SIZES):
        scene = Scenes(annotation="masks", split="test", image_size=size, difficulty=0).load(i)
        Image.fromarray(scene["image"]).save(folder / f"{i}.png")
    Image.fromarray(np.full((1, 1, 3), 9, np.uint8)).save(folder / "one.png")
    return folder


def summary(run_dir):
    return json.loads((run_dir / "summary.json").read_text())


@pytest.mark.slow
def test_a_run_leaves_counts_pictures_and_a_report(segmentation_run):
    found = np.load(segmentation_run / "predictions" / "test.npz")
    iou = iou_per_class(torch.from_numpy(found["total_confusion"])).nanmean()
    assert float(iou) == pytest.approx(summary(segmentation_run)["metrics"]["test/iou"], abs=1e-6)
    assert found["right"].shape == (20, 9) and (found["target"].sum(1) == 32 * 32).all()
    html = (segmentation_run / "report.html").read_text()
    assert all(title in html for title in ("Scores per class", "Confusion", "Worst images", "Best images"))


@pytest.mark.slow
def test_masks_of_test_images_are_those_that_were_measured(segmentation_run, call, tmp_path):
    """Predicting a file is what the test stage did: the same input, the same classes."""
    kept = np.load(segmentation_run / "predictions" / "examples.npz")
    folder = tmp_path / "shown"
    folder.mkdir()
    for name, image in zip(kept["masks_worst_ids"], kept["masks_worst_image"], strict=True):
        Image.fromarray(image).save(folder / f"{name.split('/')[1]}.png")
    call("predict", run=segmentation_run, input=folder, output=tmp_path / "out")
    for name, preds in zip(kept["masks_worst_ids"], kept["masks_worst_answer"], strict=True):
        with Image.open(tmp_path / "out" / "masks" / f"{name.split('/')[1]}.png") as mask:
            assert (np.asarray(mask) == preds).mean() > 0.999  # float sums differ between batch sizes


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, 32, [32, 48]])
def test_any_image_gets_a_mask_of_its_size(segmentation_run, photos, call, tmp_path, window):
    out = tmp_path / "photos" / "out"  # inside the images: what it wrote is no image of the next call
    for _ in range(2):
        call("predict", run=segmentation_run, input=photos, output=out, window=window)
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(SIZES) + 1
    for i, size in enumerate(SIZES):
        with Image.open(out / "masks" / f"{i}.png") as mask:
            assert mask.mode == "P" and mask.size == size[::-1]
            assert mask.getpalette()[:27] == Scenes.palette.ravel().tolist()
    assert (out / "masks" / "one.png").is_file() and (out / "predictions.png").is_file()


@pytest.mark.slow
def test_an_image_of_the_input_size_gets_the_net_s_own_classes(segmentation_run, photos, call, tmp_path):
    call("predict", run=segmentation_run, input=photos / "0.png", output=tmp_path / "out", annotate=False)
    trained = open_run(str(segmentation_run), "best")
    with torch.inference_mode():
        wanted = trained.net(Preprocess(trained.preprocessing)(read_image(photos / "0.png", channels=3)))
    with Image.open(tmp_path / "out" / "masks" / "0.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), wanted[0].argmax(0))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["predicted", "star", "top-2"])
def test_explain_takes_mask_areas(segmentation_run, call, tmp_path, target):
    words = {"input": "test", "number": 3, "target": target, "method": ["grad_cam", "saliency", "score_cam"]}
    call("explain", run=segmentation_run, output=tmp_path / "out", **words)
    with (tmp_path / "out" / "explain.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 3 * (2 if target == "top-2" else 1)
    assert not any(row["problem"] for row in rows)
    assert target != "star" or {row["class"] for row in rows} == {"star"}


@pytest.mark.slow
def test_compare_ranks_by_iou_and_says_latency(segmentation_run, call, tmp_path, capsys):
    words = {"output": tmp_path / "out", "rounds": 2, "seconds": 1}
    call("compare", runs=segmentation_run, **words)
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert found["metric"] == "test/iou" and found["rows"][0]["latency_p50_ms"] > 0
    assert "IoU per class" in (tmp_path / "out" / "compare.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_exports_compute_the_same_maps(segmentation_run, call, tmp_path, form):
    call("export", run=segmentation_run, format=form, output=tmp_path / form, images=8, rounds=1)
    about = json.loads((tmp_path / form / "export.json").read_text())
    assert about["outputs"][0]["shape"] == ["batch", 9, 32, 32] and about["parity"]["same_argmax"] > 0.999
    assert about["palette"] == Scenes.palette.tolist()


@pytest.mark.slow
def test_two_processes_keep_what_one_keeps(tmp_path):
    """With weights that stand still, and a test set that two processes cannot share evenly."""
    still = ["optimizer.lr=1e-30", "optimizer.weight_decay=0", "scheduler=none", "model.net.batch_norm=false"]
    words = [*TRAINING, *still, "data.dataset.num_test=21"]
    assert runs.train(words, run_dir=tmp_path / "one") == 0, runs.output(tmp_path / "one")
    words.remove("trainer=cpu")
    command = [sys.executable, str(runs.ROOT / "src" / "train.py"), *words, *processes.TWO]
    command += ["data.batch_size=4", f"run_dir={tmp_path}/two"]
    done = subprocess.run(command, env=processes.ENVIRONMENT, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("test.npz", "examples.npz"):
        one, two = (np.load(tmp_path / run / "predictions" / name) for run in ("one", "two"))
        assert set(one) == set(two)
        for key in one:
            np.testing.assert_array_equal(one[key], two[key], err_msg=key)


def test_a_window_is_for_runs_that_predict_masks(untrained_run, tmp_path, call):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(UsageError, match=r"window=8 .*masks"):
        call("predict", run=untrained_run, input=tmp_path / "x.png", window=8)


def test_what_views_masks_may_come_out_of_a_checkpoint():
    node = runs.compose([*TRAINING, "run_dir=x"]).report.view
    assert any(
        str(node._target_).startswith(allowed[:-1]) for allowed in cli.WHITELIST if allowed.endswith("*")
    )
