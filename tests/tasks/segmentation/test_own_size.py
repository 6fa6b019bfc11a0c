"""Masks are measured at the size of the photos, and every command gives the same numbers."""

import csv
import json
import re
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers import runs

SIZES = [(40, 64), (90, 50), (32, 32), (77, 101)]
COUNT = 24
CLASSES = "[background,object]"
TRAINING = [
    "experiment=unet_folder", "trainer=cpu", "augment=none", "data.image_size=32", "data.batch_size=4",
    "data.num_workers=0", "data.val_fraction=0.25", "data.test_fraction=0.25", "trainer.max_epochs=2",
    "model.net.width=4", "model.net.depth=2", "optimizer.lr=0.01", "scheduler=none",
]  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Write photos of several sizes, each with a bright disk that its mask marks."""
    root, noise = tmp_path_factory.mktemp("data") / "shapes", np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for i in range(COUNT):
        height, width = SIZES[i % len(SIZES)]
        mask = np.zeros((height, width), np.uint8)
        centre = (int(noise.integers(10, width - 10)), int(noise.integers(10, height - 10)))
        cv2.circle(mask, centre, int(noise.integers(5, 12)), 1, -1)
        image = noise.integers(0, 90, (height, width, 3), dtype=np.uint8)
        image[mask > 0] += 60
        Image.fromarray(image).save(root / "images" / f"{i:02}.png")
        Image.fromarray(mask).save(root / "masks" / f"{i:02}.png")
    return root


@pytest.fixture(scope="module", params=["crop", "pad", "stretch"])
def run(request, photos, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp(request.param) / "run"
    words = [*TRAINING, f"data.root={photos}", f"data.resize={request.param}"]
    assert runs.train(words, run_dir=run_dir, report=request.param == "crop") == 0, runs.output(run_dir)
    return run_dir


def iou_of(folder, photos):
    """Return the mean IoU of the masks that predict wrote, over the pixels of all images."""
    counts = np.zeros((2, 2), np.int64)
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        name = row["path"].rsplit("/", 1)[-1]
        truth = np.asarray(Image.open(photos / "masks" / f"{name.removesuffix('.png')}.png"))
        found = np.asarray(Image.open(folder / row["mask"]))
        assert found.shape == truth.shape
        np.add.at(counts, (truth, found), 1)
    right = counts.diagonal()
    return (right / (counts.sum(0) + counts.sum(1) - right)).mean(), len(rows)


@pytest.mark.slow
def test_training_eval_and_predict_give_one_iou(run, photos, call, tmp_path, capsys):
    measured = json.loads((run / "summary.json").read_text())
    call("eval", run=run, split=["val", "test"])
    for split in ("val", "test"):
        found = json.loads((run / f"eval_{split}.json").read_text())
        call("predict", run=run, input=split, output=tmp_path / split, annotate=False)
        iou, count = iou_of(tmp_path / split, photos)
        assert count == found["data"]["num_images"] == 6
        assert found["metrics"][f"{split}/iou"] == pytest.approx(iou, abs=1e-6)
        assert np.mean([c["score"] for c in found["per_class"]]) == pytest.approx(iou, abs=1e-6)
        pixels = sum(c["pixels"] for c in found["per_class"])
        assert pixels > 6 * 32 * 32
    assert measured["metrics"]["test/iou"] == pytest.approx(iou, abs=1e-6)  # the last was the test split
    call("predict", run=run, input=photos / "images", output=tmp_path / "files", annotate=False)
    assert "12 of 24 images trained this run" in capsys.readouterr().err
    same = {p.name: p.read_bytes() for p in (tmp_path / "test" / "masks").iterdir()}
    files = {p.name: p.read_bytes() for p in (tmp_path / "files" / "masks").iterdir()}
    assert set(same) < set(files) and all(files[name] == same[name] for name in same)


@pytest.mark.slow
def test_a_damaged_photo_is_left_out_of_the_test_and_counted(photos, tmp_path):
    root = tmp_path / "damaged"
    for name in ("images", "masks"):
        for split, first in (("train", 0), ("val", 12), ("test", 16)):
            (root / split / name).mkdir(parents=True)
            for i in range(first, first + 4):
                shutil.copy(photos / name / f"{i:02}.png", root / split / name)
    (root / "test" / "images" / "17.png").write_bytes(b"no image")
    words = [*TRAINING, f"data.root={root}", "data.on_error=skip", "trainer.max_epochs=1"]
    assert runs.train(words, run_dir=tmp_path / "run") == 0, runs.output(tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["measured"]["test"] == 3 and summary["data"]["num_skipped"] == 1
    assert runs.output(tmp_path / "run").count("17.png") == 1


@pytest.mark.slow
@pytest.mark.parametrize("run", ["crop"], indirect=True)
def test_the_size_of_the_net_is_there_on_request(run, call):
    call("eval", run=run, split="val", full_size=False)
    found = json.loads((run / "eval_val_full_size_false.json").read_text())
    best = json.loads((run / "summary.json").read_text())["best"]
    assert found["full_size"] is False and found["metrics"]["val/iou"] == pytest.approx(best["value"])
    assert sum(c["pixels"] for c in found["per_class"]) == 6 * 32 * 32
    call("eval", run=run, split="val", window=[32, 48])
    assert json.loads((run / "eval_val_window_32_48.json").read_text())["window"] == [32, 48]
    kept = np.load(run / "predictions" / "examples.npz")
    shapes = {kept[f"masks_worst_{key}"].shape[1:3] for key in ("image", "answer", "truth")}
    assert shapes == {(32, 32)} and "Worst images" in (run / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("run", ["crop"], indirect=True)
def test_the_pictures_of_the_report_name_what_was_measured_in_order(run):
    rows = np.load(run / "predictions" / "test.npz")
    right, found, true = (rows[key] for key in ("right", "found", "target"))
    union = (found + true - right).astype(float)
    iou = np.divide(right, union, out=np.full(union.shape, np.nan), where=union > 0)
    by_name = dict(zip(rows["ids"], np.nanmean(iou, axis=1), strict=True))
    html = (run / "report.html").read_text()
    worst = html[html.index("Worst images") : html.index("Best images")]
    said = [
        (name, float(score))
        for score, name in re.findall(r"IoU (0\.\d{3})\D*?(images/\d\d\.png)", worst.replace("\n", " "))
    ]
    assert {name for name, _ in said} == set(by_name)
    assert all(score == pytest.approx(by_name[name], abs=6e-4) for name, score in said)
    assert [score for _, score in said] == sorted(score for _, score in said)
