import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from fovea.config.arguments import check_arguments
from fovea.data.datasets.yolo_folder import YoloFolder
from fovea.engine import checkpoint
from fovea.errors import UsageError
from fovea.predict.video import VideoFile
from helpers import runs
from helpers.detector_run import write_run
from helpers.formats_own_boxes import MANY, SPLIT, write_coco

IDS = [3, 7, 9, 11, 20, 21, 22, 90]


@pytest.fixture
def run(tmp_path):
    """Write a detector with random weights that finds a lot."""
    return write_run(tmp_path / "run", "yolo_scenes", labelling={"category_ids": IDS})


@pytest.fixture
def photos(tmp_path):
    noise = np.random.default_rng(0)
    for name, size in (("a/one.jpg", (150, 90)), ("b/one.png", (60, 80)), ("two <&>.png", (1, 1))):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def rows(folder):
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_format_says_the_same_by_the_ids_of_the_data(run, photos, call, tmp_path):
    call(
        "predict",
        run=run,
        input=photos,
        format=["csv", "coco", "yolo"],
        threshold=0.05,
        output=tmp_path / "out",
    )
    lines, document = rows(tmp_path / "out"), json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["a/one.jpg", "b/one.png", "two <&>.png"]
    assert [c["id"] for c in document["categories"]] == IDS
    names = {c["id"]: c["name"] for c in document["categories"]}
    found = [line for line in lines if line["class"]]
    assert len(found) >= len(document["annotations"]) > 10
    corners = np.array([[float(line[k]) for k in ("x1", "y1", "score")] for line in found])
    for one in document["annotations"]:
        near = np.abs(corners - [*one["bbox"][:2], one["score"]]).max(axis=1) < 0.01
        assert names[one["category_id"]] in {line["class"] for line, k in zip(found, near, strict=True) if k}
    (tmp_path / "out" / "images").symlink_to(photos)
    read = YoloFolder(root=tmp_path / "out", split="train")
    assert sum(len(read.load(i)["boxes"]) for i in range(3)) == pytest.approx(len(found), abs=5)
    call("predict", run=run, input=photos, threshold=0.2, output=tmp_path / "out")
    fewer = [line for line in rows(tmp_path / "out") if line["class"]]
    assert 0 < len(fewer) < len(found) and all(float(line["score"]) >= 0.2 for line in fewer)
    assert not (tmp_path / "out" / "labels").exists()


@pytest.mark.slow
def test_windows_and_videos(run, photos, call, tmp_path):
    call("predict", run=run, input=photos / "a", threshold=0.05, output=tmp_path / "plain", annotate=False)
    options = {"run": run, "input": photos / "a", "threshold": 0.05, "annotate": False}
    call("predict", **options, window=[90, 150], output=tmp_path / "large")
    call("predict", **options, window=48, overlap=0.5, whole=False, output=tmp_path / "small")
    assert rows(tmp_path / "large") == rows(tmp_path / "plain") != rows(tmp_path / "small")
    video = VideoFile(tmp_path / "clip.mp4", fps=5)
    for i in range(6):
        video.add(np.full((48, 64, 3), 40 * i, np.uint8))
    video.close()
    call("predict", run=run, input=tmp_path / "clip.mp4", every=2, format="coco", output=tmp_path / "video")
    assert {p.name for p in (tmp_path / "video").iterdir()} == {
        ".predict_files", "annotated.mp4", "annotations.json", "detections.json",
    }  # fmt: skip
    assert len(json.loads((tmp_path / "video" / "annotations.json").read_text())["images"]) == 3
    with pytest.raises(UsageError, match="every=2 is for a video"):
        call("predict", run=run, input=photos, every=2)


def test_options_of_other_tasks_are_refused_with_a_sentence(untrained_run, call, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    for key, value in (("threshold", 0.3), ("window", 64)):
        with pytest.raises(UsageError, match=rf"{key}={value} is for runs that .*any number of boxes"):
            call("predict", run=untrained_run, input=tmp_path / "x.png", **{key: value})
    with pytest.raises(UsageError, match="format=coco is for runs that find boxes"):
        call("predict", run=untrained_run, input=tmp_path / "x.png", format="coco")
    with pytest.raises(UsageError, match="overlap= says how a window slides: add window=640"):
        call("predict", run=untrained_run, input=tmp_path / "x.png", overlap=0.3)
    assert not (untrained_run / "predict").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("threshold=1.2", r"threshold is 1\.2; allowed: null or a number from 0 to 1"),
        ("threshold=true", "threshold is True"),
        ("overlap=1", "overlap is 1; allowed: .* below 1"),
        ("every=0", "every is 0"),
        ("whole=2", "whole is 2"),
        ("format=voc", r"format is 'voc'; allowed: csv, coco, yolo, or several: \[csv,coco\]"),
        ("format=[]", "format is"),
        ("window=[0,5]", "window is"),
    ],
)
def test_values_that_make_no_sense_are_refused_at_once(given, words, tmp_path):
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(runs.ROOT / "conf")):
        config = compose("predict", overrides=[f"run={tmp_path}", "input=x.png", given])
    with pytest.raises(UsageError, match=words):
        check_arguments(config, [given], name="predict")


@pytest.mark.slow
def test_a_training_records_the_ids_and_predict_gives_those_of_the_images_back(call, tmp_path):
    write_coco(tmp_path / "own", MANY, splits=SPLIT)
    run_dir = tmp_path / "run"
    given = ["experiment=yolo_scenes", "data=coco_folder", f"data.root={tmp_path / 'own'}", "trainer=cpu",
             "model.name=mobilenetv3_small_050", "model.pretrained=false", "data.image_size=64",
             "trainer.max_epochs=1", "data.batch_size=8", "model.net.score_threshold=1e-5",
             "trainer.precision=32-true"]  # fmt: skip
    command = [sys.executable, "src/train.py", *given, f"run_dir={run_dir}"]
    done = subprocess.run(command, cwd=runs.ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    about = checkpoint.load(run_dir / "checkpoints" / "best.ckpt")["fovea"]
    assert about["category_ids"] == [3, 7] and about["classes"] == ["cat", "dog"]
    call("predict", run=run_dir, input="test", format="coco", threshold=0, output=tmp_path / "out")
    found = json.loads((tmp_path / "out" / "annotations.json").read_text())
    truth = json.loads((tmp_path / "own" / "annotations" / "instances_test.json").read_text())
    assert [one["id"] for one in found["images"]] == [one["id"] for one in truth["images"]]
    assert {one["category_id"] for one in found["annotations"]} <= {3, 7} and found["annotations"]
    saved = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)
    for ids, words in (([3], "1 numbers, but classes 2"), ([3, 3], "distinct"), ([3, -1], "distinct")):
        saved["fovea"]["category_ids"] = ids
        torch.save(saved, tmp_path / "odd.ckpt")
        with pytest.raises(UsageError, match=f"category_ids .*{words}"):
            checkpoint.load(tmp_path / "odd.ckpt")
