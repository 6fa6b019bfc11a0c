"""What ran is what is recorded, and what was not measured is not."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from fovea.engine import rundir
from fovea.runs.measured import debugging, images
from helpers import processes, runs

SMALL = ["experiment=mlp_digits", "trainer=cpu", "data.batch_size=32", "scheduler=none"]


def read(run_dir):
    with (run_dir / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def command(*words, cwd):
    call = [sys.executable, str(runs.ROOT / "src" / "train.py"), *words]
    return subprocess.run(call, env=processes.ENVIRONMENT, capture_output=True, text=True, cwd=cwd)


def trained(run_dir, *given, report=False):
    assert runs.train([*SMALL, *given], run_dir=run_dir, report=report) == 0, runs.output(run_dir)
    return rundir.read_summary(run_dir)


@pytest.mark.slow
def test_a_found_learning_rate_stands_everywhere(tmp_path):
    few = ["data.train_fraction=0.05", "trainer.max_epochs=1"]  # 5 batches an epoch, 30 are wanted
    search = ["callbacks=lr_finder", "callbacks.lr_finder.num_training_steps=30"]
    summary = trained(tmp_path / "run", *few, *search, report=True)
    facts = summary["found"]["optimizer.lr"]
    assert facts["given"] == 1e-3 != facts["used"] and len(facts["curve"]["lr"]) > 20
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").optimizer.lr == facts["used"]
    assert runs.checkpoint(tmp_path / "run", "best")["fovea"]["config"]["optimizer"]["lr"] == facts["used"]
    assert float(read(tmp_path / "run")[0]["lr"]) == facts["used"]
    text = runs.output(tmp_path / "run")
    assert text.count(f"optimizer.lr={facts['used']:g}") == 2  # where it is found, and at the end
    assert (tmp_path / "run" / "figures" / "lr_search.png").is_file()
    assert f"optimizer.lr={facts['used']:g}" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_both_searches_run_whatever_their_order_and_stay_after_a_resume(tmp_path):
    search = ["callbacks=[lr_finder,batch_size_finder]", "callbacks.lr_finder.num_training_steps=30"]
    run = tmp_path / "run"
    found = trained(run, *search, "callbacks.batch_size_finder.max_val=128", "trainer.max_epochs=1")["found"]
    assert set(found) == {"optimizer.lr", "data.batch_size"} and found["data.batch_size"]["used"] == 128
    text = runs.output(run)
    assert text.index("suggests data.batch_size") < text.index("suggests optimizer.lr")
    before = (run / "config.yaml").read_text()
    for word in ("optimizer.lr=0.5", "data.batch_size=8", "seed=3", "metrics.monitor=val/loss"):
        done = command(f"run_dir={run}", "resume=true", "trainer.max_epochs=2", word, cwd=tmp_path)
        assert done.returncode == 2 and word.partition("=")[0] in done.stderr, done.stderr
        assert "init.checkpoint=" in done.stderr and (run / "config.yaml").read_text() == before
    for epochs in (2, 2):  # the second time nothing is left to be done
        done = command(f"run_dir={run}", "resume=true", f"trainer.max_epochs={epochs}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        summary = rundir.read_summary(run)
        assert summary["found"] == found and summary["measured"]["val"] > 0
        assert [float(row["lr"]) for row in read(run)] == [found["optimizer.lr"]["used"]] * 2


@pytest.mark.slow
def test_a_found_batch_size_stands_everywhere(tmp_path):
    search = ["callbacks=batch_size_finder", "callbacks.batch_size_finder.max_val=128"]
    summary = trained(tmp_path / "run", "trainer.max_epochs=1", *search)
    assert summary["found"] == {"data.batch_size": {"given": 32, "used": 128}}
    assert summary["config"]["batch_size"] == 128
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").data.batch_size == 128
    assert "using batch size" not in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "validated"),
    [
        (["trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3", "scheduler=plateau"], [0, 1, 1]),
        (["trainer.max_steps=5", "trainer.max_epochs=3", "trainer.limit_train_batches=4"], [1, 1]),
        (["trainer.max_steps=5", "trainer.check_val_every_n_epoch=9"], [1]),
        (["trainer.max_steps=5", "trainer.max_epochs=-1", "scheduler=cosine"], [1]),
    ],
)
def test_only_what_was_measured_has_a_value(given, validated, tmp_path):
    summary = trained(tmp_path / "run", *given)
    rows = read(tmp_path / "run")
    assert [row["val/acc"] != "" for row in rows] == [bool(v) for v in validated]
    assert all(row["train/acc"] for row in rows)
    assert len({row["val/loss"] for row in rows if row["val/loss"]}) == sum(validated)
    best = max((row for row in rows if row["val/acc"]), key=lambda row: float(row["val/acc"]))
    assert summary["best"]["value"] == pytest.approx(float(best["val/acc"]), abs=1e-6)
    assert summary["best"]["epoch"] == int(float(best["epoch"]))
    assert "counts as best" not in runs.output(tmp_path / "run")


@pytest.mark.slow
def test_an_epoch_without_validation_never_becomes_best_after_a_resume(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    given = ["trainer.check_val_every_n_epoch=2", "optimizer.lr=0.1", "trainer.limit_train_batches=4"]
    trained(whole, *given, "trainer.max_epochs=7")
    trained(parts, *given, "trainer.max_epochs=4")
    assert runs.train(["resume=true", "trainer.max_epochs=7"], run_dir=parts) == 0, runs.output(parts)
    assert runs.rows(whole) == runs.rows(parts)
    a, b = rundir.read_summary(whole), rundir.read_summary(parts)
    assert a["best"] == b["best"] and a["metrics"] == b["metrics"]


@pytest.mark.slow
def test_the_number_of_images_stands_beside_the_figures(tmp_path):
    summary = trained(tmp_path / "run", "trainer.max_epochs=1", "trainer.limit_test_batches=2", report=True)
    assert summary["measured"]["test"] == 64 and summary["data"]["num_test"] == 750
    assert summary["status"] == "finished" and summary["debug"] == "trainer.limit_test_batches=2"
    text = runs.output(tmp_path / "run")
    (line,) = [line for line in text.splitlines() if line.startswith("test/acc")]
    assert "64 of 750 images" in line and "debug run" in text
    page = (tmp_path / "run" / "report.html").read_text()
    assert "64 of 750 images" in page and "debug run" in page


@pytest.mark.slow
@pytest.mark.parametrize("given", ["trainer.fast_dev_run=true", "trainer.max_epochs=0"])
def test_a_debug_run_says_so(given, tmp_path):
    summary = trained(tmp_path / "run", given)
    text = runs.output(tmp_path / "run")
    assert given in summary["debug"] and "debug run" in text
    assert f"{'1 epoch' if 'fast' in given else '0 epochs'} on " in text  # not those of the experiment


@pytest.mark.parametrize(
    ("trainer", "found"),
    [
        (
            {"limit_test_batches": None, "max_epochs": 10, "fast_dev_run": False, "limit_val_batches": 1.0},
            None,
        ),
        ({"limit_test_batches": 1}, "trainer.limit_test_batches=1"),
        ({"limit_train_batches": 0, "max_epochs": 0}, "trainer.limit_train_batches=0, trainer.max_epochs=0"),
        ({"overfit_batches": 1}, "trainer.overfit_batches=1"),
    ],
)
def test_what_makes_a_debug_run(trainer, found):
    assert debugging({"trainer": trainer}) == found


def test_images_that_were_measured():
    facts = {"measured": {"test": 128, "val": 750}, "data": {"num_test": 750, "num_val": 750}}
    assert images(facts, "test") == "128 of 750 images" and images(facts, "val") == "750 images"
    assert images({}, "test") == ""


@pytest.mark.slow
def test_a_file_alone_neither_downloads_data_nor_fetches_weights_at_a_resume(tmp_path):
    run = tmp_path / "run"
    trained(run, "trainer.max_epochs=1")
    file, again = run / "config.yaml", ["resume=true", "trainer.max_epochs=2"]
    honest = file.read_text()
    file.write_text(honest.replace("download: false", "download: true"))
    done = command(f"run_dir={run}", *again, cwd=tmp_path)
    assert done.returncode == 0 and "data.download=True is not taken from" in done.stderr, done.stderr
    assert OmegaConf.load(file).data.download is False
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    file.write_text(honest.replace("pretrained: false", "pretrained: true"))
    done = command(f"run_dir={run}", *again, cwd=tmp_path)
    assert done.returncode == 2 and "give model.pretrained=" in done.stderr, done.stderr


@pytest.mark.slow
def test_data_that_moved_are_read_where_they_are_now(tmp_path):
    """What followed `data.root` in the resolved config follows it in a resumed run too."""
    noise = np.random.default_rng(0)
    for i in range(24):
        path = tmp_path / "old" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    data = ["data=folder", f"data.root={tmp_path}/old", "data.image_size=8", "data.batch_size=4"]
    data += ["data.val_fraction=0.25", "data.test_fraction=0.25"]
    trained(tmp_path / "run", *data, "trainer.max_epochs=1")
    (tmp_path / "old").rename(tmp_path / "new")
    words = [f"run_dir={tmp_path}/run", "resume=true", "trainer.max_epochs=2", f"data.root={tmp_path}/new"]
    assert runs.train(words, run_dir=tmp_path / "run") == 0, runs.output(tmp_path / "run")
    config = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert config.data.root == config.data.dataset.root == f"{tmp_path}/new"
    assert len(read(tmp_path / "run")) == 2
