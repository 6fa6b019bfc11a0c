import errno
import json
import re
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from fovea.config import cli
from fovea.engine import eval as engine
from fovea.errors import UsageError
from fovea.metrics.significance import wilson
from helpers import runs


def summary(run_dir):
    return json.loads((run_dir / "summary.json").read_text())


def written(run_dir, split):
    return json.loads((run_dir / f"eval_{split}.json").read_text())


@pytest.mark.slow
def test_test_metrics_are_those_of_the_run(trained_run, call):
    call("eval", run=trained_run)
    own = {k: v for k, v in summary(trained_run)["metrics"].items() if k.startswith("test/")}
    found = written(trained_run, "test")
    assert len(own) >= 3 and found["metrics"] == own
    assert found["checkpoint"] == str(trained_run / "checkpoints" / "best.ckpt")


@pytest.mark.slow
def test_validation_metrics_are_those_of_the_best_epoch(trained_run, call):
    call("eval", run=trained_run, split="val")
    best = summary(trained_run)["best"]
    row = next(r for r in runs.rows(trained_run) if int(r["epoch"]) == best["epoch"])
    own = {k: float(v) for k, v in row.items() if k.startswith("val/")}
    found = written(trained_run, "val")["metrics"]
    assert len(own) >= 3 and found == own and found["val/acc"] == best["value"]


@pytest.mark.slow
def test_the_last_checkpoint_gives_the_last_epoch(trained_run, call):
    call("eval", run=trained_run, split="val", checkpoint="last")
    last = runs.rows(trained_run)[-1]
    found = written(trained_run, "val_last")
    assert found["metrics"]["val/loss"] == float(last["val/loss"])
    assert found["data"]["num_images"] >= summary(trained_run)["measured"]["val"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1000, 7, 100000])  # the last is more than there are training images
def test_the_batch_does_not_change_the_metrics(trained_run, call, batch_size):
    call("eval", run=trained_run, batch_size=batch_size, num_workers=0)
    own = {k: v for k, v in summary(trained_run)["metrics"].items() if k.startswith("test/")}
    assert written(trained_run, "test")["metrics"] == pytest.approx(own, abs=1e-6)


@pytest.mark.slow
def test_a_checkpoint_alone_is_measured_beside_itself(trained_run, call, tmp_path):
    shutil.copy(trained_run / "checkpoints" / "best.ckpt", tmp_path / "x.ckpt")
    call("eval", run=tmp_path / "x.ckpt", split="train")
    found = written(tmp_path, "train")["metrics"]
    assert set(found) >= {"train/acc", "train/f1", "train/loss"} and found["train/acc"] > 0.3


@pytest.mark.slow
def test_views_of_an_image_are_averaged_on_request(trained_run, call):
    call("eval", run=trained_run, split="val")
    call("eval", run=trained_run, split="val", tta=["shift"])
    plain = written(trained_run, "val")
    shifted = json.loads((trained_run / "eval_val_tta_shift.json").read_text())
    assert plain["tta"] is None and shifted["tta"] == ["shift"]
    assert plain["metrics"]["val/loss"] != shifted["metrics"]["val/loss"]
    with pytest.raises(ValueError, match="tta"):
        call("eval", run=trained_run, split="val", tta=["spin"])


@pytest.fixture
def images(tmp_path):
    """Write ten cats and ten dogs, some of them with the other's look."""
    noise = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for i in range(10):
            cv2.imwrite(str(folder / f"{i}.png"), noise.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    return tmp_path / "images"


@pytest.fixture
def run_on(untrained_run):
    """Have the checkpoint say that its data was read from a folder."""

    def write(root, **changes):
        path = untrained_run / "checkpoints" / "best.ckpt"
        saved = torch.load(path, weights_only=True)
        config = OmegaConf.create(saved["fovea"]["config"])
        data = {"data.root": str(root), "data.dataset.root": str(root), "data.batch_size": 4}
        fractions = {"data.val_fraction": 0.2, "data.test_fraction": 0.3}
        for key, value in {**data, **fractions, **changes}.items():
            OmegaConf.update(config, key, value)
        saved["fovea"]["config"] = OmegaConf.to_container(config)
        torch.save(saved, path)
        return untrained_run

    return write


def test_the_data_may_have_moved(run_on, images, call):
    run = run_on(images)
    call("eval", run=run)
    before = written(run, "test")
    images.rename(images.parent / "moved to")
    with pytest.raises(FileNotFoundError, match="not found"):
        call("eval", run=run)
    call("eval", run=run, data_root=images.parent / "moved to")
    (file,) = run.glob("eval_test_moved to_*.json")
    after = json.loads(file.read_text())
    assert after["metrics"] == before["metrics"] and before["metrics"]["test/loss"] > 0
    assert after["data"]["root"] != before["data"]["root"]


def test_labels_go_by_name_and_the_data_are_recorded(run_on, images, call):
    """The cats are renamed: what is left is measured as dogs, not as the class that comes first now."""
    run = run_on(images)
    call("eval", run=run)
    assert written(run, "test")["data"]["root"] == str(images)
    (images / "cat").rename(images / "zebra")
    call("eval", run=run)
    data = written(run, "test")["data"]
    assert (
        data["left_out"] == {"zebra": 10} and data["classes_lacking"] == ["cat"] and data["num_images"] == 3
    )
    call("predict", run=run, input=images / "dog", annotate=False)
    answers = (run / "predict" / "predictions.csv").read_text()
    dogs = [line.split(",") for line in answers.splitlines()[1:]]
    by_name = {line[0].rsplit("/", 1)[-1]: line[4] == "true" for line in dogs}
    right = sum(by_name[name.rsplit("/", 1)[-1]] for name in measured(run, images))
    assert written(run, "test")["metrics"]["test/acc"] == pytest.approx(right / 3)


def measured(run, images):
    trained = engine.open_run(str(run), "best")
    return trained.datamodule(data_root=str(images)).test.ids


def test_metrics_follow_from_the_predictions(run_on, images, call):
    """Another way to the same numbers: predict every image of the split."""
    images.rename(images.parent / "test")
    for split in ("train", "val", "test"):
        shutil.copytree(images.parent / "test", images / split)
    run = run_on(images)
    call("eval", run=run, batch_size=3)
    call("predict", run=run, input=images / "test", annotate=False)
    lines = (run / "predict" / "predictions.csv").read_text().splitlines()[1:]
    right = sum(line.split(",")[4] == "true" for line in lines)
    assert len(lines) == 20 and 0 < right < 20
    assert written(run, "test")["metrics"]["test/acc"] == pytest.approx(right / 20)


def test_each_class_has_its_counts_and_its_interval(run_on, images, call, capsys):
    """`input=test` of predict lists the very images that eval counts as wrong."""
    run = run_on(images)
    call("eval", run=run, split=["train", "test"])
    said = capsys.readouterr().err
    for split, count in (("train", 10), ("test", 6)):
        found = written(run, split)
        call("predict", run=run, input=split, failures_only=True)
        wrong = (run / "predict" / "predictions.csv").read_text().splitlines()[1:]
        lines = {line["class"]: line for line in found["per_class"]}
        assert sum(line["images"] for line in lines.values()) == found["data"]["num_images"] == count
        for name, line in lines.items():
            failed = sum(row.split(",")[3] == name for row in wrong)
            assert line["correct"] == line["images"] - failed
            assert line["score"] == pytest.approx(line["correct"] / line["images"])
            assert tuple(line["interval"]) == pytest.approx(wilson(line["correct"], line["images"]))
            assert f"{line['correct']} of {line['images']}" in said
        assert found["correct"] == count - len(wrong)
        assert found["interval"][f"{split}/acc"] == pytest.approx(wilson(found["correct"], count))
    assert ["train", "test"] in [line.split() for line in said.splitlines()]


def test_best_and_last_stand_side_by_side(run_on, images, call, capsys):
    run = run_on(images)
    path = run / "checkpoints" / "best.ckpt"
    saved = torch.load(path, weights_only=True)
    saved["state_dict"] = {key: -value for key, value in saved["state_dict"].items()}
    torch.save(saved, run / "checkpoints" / "last.ckpt")
    call("eval", run=run, checkpoint=["best", "last"])
    best, last = written(run, "test")["metrics"], written(run, "test_last")["metrics"]
    assert best["test/loss"] != last["test/loss"]
    heads = next(line for line in capsys.readouterr().err.splitlines() if "test best" in line)
    assert heads.split() == ["test", "best", "test", "last"]


def test_a_run_that_may_only_be_read_is_measured_all_the_same(run_on, images, call, capsys, monkeypatch):
    def refuse(path, value):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    run = run_on(images)
    monkeypatch.setattr(engine, "write_json", refuse)
    call("eval", run=run)
    said = capsys.readouterr().err
    assert f"{run / 'eval_test.json'} cannot be written" in said and re.search(r"(?m)^acc +\d", said)
    assert not (run / "eval_test.json").exists() and said.count("eval_test.json") == 1


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true", "16-mixed"])
def test_a_run_is_measured_in_its_own_precision(run_on, images, call, precision, monkeypatch):
    seen = []
    task = engine.build.task

    def spy(*args):
        found = task(*args)
        found.net.register_forward_hook(lambda net, args, output: seen.append(output.dtype))
        return found

    monkeypatch.setattr(engine.build, "task", spy)
    call("eval", run=run_on(images, **{"trainer.precision": precision, "channels_last": True}))
    half = torch.float16 if torch.cuda.is_available() else torch.float32  # a CPU has no 16-mixed
    wanted = {"bf16-mixed": torch.bfloat16, "32-true": torch.float32, "16-mixed": half}
    assert set(seen) == {wanted[precision]}


def test_refusals(untrained_run, call, monkeypatch, capsys, own_process):
    with pytest.raises(UsageError, match=r"split is 'tset'.* train, val, test"):
        call("eval", run=untrained_run, split="tset")
    with pytest.raises(UsageError, match=r"give run=DIR, or model=timm"):
        call("eval")
    monkeypatch.setattr(sys, "argv", ["src/eval.py", f"run={untrained_run}", "accelerator=mps"])
    with pytest.raises(SystemExit) as stop:
        cli.command("eval")
    text = capsys.readouterr().err
    assert stop.value.code == 2 and "use accelerator=cpu or accelerator=auto" in text
