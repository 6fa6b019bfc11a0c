"""A task from outside the package: every command takes it once the person at the keyboard lets it in."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from helpers import runs

pytestmark = pytest.mark.slow
TOY = runs.ROOT / "tests" / "helpers" / "toy_task"
TRAINING = [
    f"--config-dir={TOY / 'conf'}", "experiment=mlp_digits", "task=toy", "model.net.num_classes=1",
    "trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=4", "data.num_workers=0",
]  # fmt: skip
LET_IN = {"FOVEA_PACKAGES": "toy_task"}


def command(name, *words, env=LET_IN):
    """Run a command as a shell does; return its exit code and messages."""
    known = {k: v for k, v in os.environ.items() if k != "FOVEA_PACKAGES"}
    done = subprocess.run(
        [sys.executable, str(runs.ROOT / "src" / f"{name}.py"), *map(str, words)],
        env={**known, "PYTHONPATH": str(TOY.parent), **env}, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stderr


def work(name, *words):
    code, said = command(name, *words)
    assert code == 0, said
    return said


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train the task twice."""
    folder = tmp_path_factory.mktemp("toy")
    for seed in (0, 1):
        work("train", *TRAINING, f"optimizer.lr=0.0{seed + 1}", f"run_dir={folder / f'run{seed}'}")
    return folder


@pytest.fixture(scope="module")
def run(trained):
    return trained / "run0"


def test_training_leaves_predictions_and_a_report(run):
    found = np.load(run / "predictions" / "test.npz")
    summary = json.loads((run / "summary.json").read_text())
    assert -found["score"].mean() == pytest.approx(summary["metrics"]["test/mae"], rel=1e-4)
    html = (run / "report.html").read_text()
    assert "Worst images" in html and "src/predict.py" in html and "src/explain.py" in html
    assert "could not be made" not in html and (run / "figures" / "numbers_worst.png").is_file()


def test_eval_measures_what_the_training_did(run):
    work("eval", f"run={run}", "split=test", "accelerator=cpu")
    again, first = (json.loads((run / name).read_text()) for name in ("eval_test.json", "summary.json"))
    assert again["metrics"]["test/mae"] == pytest.approx(first["metrics"]["test/mae"])


@pytest.fixture(scope="module")
def photos(run, tmp_path_factory):
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    kept = np.load(run / "predictions" / "examples.npz")
    for i, image in enumerate(kept["numbers_worst_image"]):
        Image.fromarray(image[..., 0]).save(folder / f"{i}.png")
    return folder


def test_predict_writes_what_the_view_says(run, photos, tmp_path):
    work("predict", f"run={run}", f"input={photos}", f"output={tmp_path}", "accelerator=cpu")
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept = np.load(run / "predictions" / "examples.npz")["numbers_worst_answer"]
    assert list(rows[0]) == ["path", "value"]
    assert [float(row["value"]) for row in rows] == pytest.approx(kept.tolist(), rel=1e-4)
    assert len(list((tmp_path / "annotated").iterdir())) == len(kept)


def test_compare_tests_image_by_image(trained, tmp_path):
    work("compare", f"runs={trained}", f"output={tmp_path}", "rounds=1", "seconds=1", "accelerator=cpu")
    found = json.loads((tmp_path / "compare.json").read_text())
    assert found["metric"] == "test/mae" and len(found["tests"]) == 1
    assert "closeness" in (tmp_path / "compare.html").read_text()


def test_explain_follows_the_number(run, photos, tmp_path):
    work(
        "explain", f"run={run}", f"input={photos}", f"output={tmp_path}", "method=saliency", "accelerator=cpu"
    )
    with (tmp_path / "explain.csv").open(newline="", encoding="utf-8") as file:
        assert {row["class"] for row in csv.DictReader(file)} == {"value"}


def test_export_computes_the_same_number(run, tmp_path):
    work("export", f"run={run}", "format=torchscript", f"output={tmp_path}", "images=8", "rounds=1")
    about = json.loads((tmp_path / "export.json").read_text())
    assert about["outputs"][0]["shape"] == ["batch", 1]


def test_nobody_else_lets_it_in(run, photos, tmp_path):
    env = {"FOVEA_PACKAGES": "json"}
    code, said = command("train", *TRAINING, f"run_dir={tmp_path / 'run'}", env=env)
    assert code and "toy_task.task.Regression" in said
    code, said = command("predict", f"run={run}", f"input={photos}", f"output={tmp_path}", env=env)
    assert code == 2 and "is refused" in said and "toy_task" in said
