import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fovea.engine import checkpoint, rundir
from helpers import processes, runs

pytestmark = pytest.mark.slow
# a learning rate that changes no bit of any weight: whatever differs is due to the number of processes
STILL = [
    "experiment=mlp_digits",
    "data=folder",
    "data.image_size=8",
    "data.num_classes=2",
    "optimizer.lr=1e-30",
    "optimizer.weight_decay=0",
    "scheduler=none",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=6",
    "data.val_fraction=0.1",
    "data.test_fraction=0.06",
    "callbacks=explain",
    "callbacks.explain.methods.grad_cam=null",
    "+callbacks.explain.methods.saliency._target_=fovea.explain.methods.saliency.Saliency",
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Write two classes of random images, 450 and 300."""
    root, noise = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, count in {"a": 450, "b": 300}.items():
        (root / name).mkdir()
        for i in range(count):
            cv2.imwrite(str(root / name / f"{i:03}.png"), noise.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return root


@pytest.fixture(scope="module")
def logs(tmp_path_factory, images):
    """Train in one process and in two, with the default run directory."""
    found = {}
    for name, extra in {
        "one": ["trainer=cpu", "data.batch_size=32"],
        "two": [*processes.TWO, "data.batch_size=16", "data.num_workers=1"],
    }.items():
        logs = tmp_path_factory.mktemp(name)
        command = [sys.executable, str(runs.ROOT / "src" / "train.py"), *STILL, *extra, f"data.root={images}"]
        environment = {**processes.ENVIRONMENT, "FOVEA_LOGS": str(logs)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=logs)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        found[name] = logs
    return found


def only_run(logs):
    (run_dir,) = (logs / "mlp_digits").iterdir()
    return run_dir


def test_two_processes_leave_one_run_directory_and_one_summary(logs):
    assert [p.name for p in logs["two"].iterdir()] == ["mlp_digits"]
    run_dir = only_run(logs["two"])
    one = sorted(p.relative_to(only_run(logs["one"])) for p in only_run(logs["one"]).rglob("*"))
    two = sorted(p.relative_to(run_dir) for p in run_dir.rglob("*"))
    assert two == one and Path("explain/epoch_0000.png") in two
    assert "after epoch 0" in (run_dir / "report.html").read_text()
    facts = rundir.read_summary(run_dir)
    assert facts["status"] == "finished" and facts["environment"]["processes"] == 2
    assert len(runs.rows(run_dir)) == 1


def test_metrics_of_two_processes_equal_those_of_one(logs):
    one, two = (rundir.read_summary(only_run(logs[n])) for n in ("one", "two"))
    assert (one["data"]["num_val"], one["data"]["num_test"]) == (75, 45)  # uneven parts for two processes
    assert one["data"] == two["data"]
    assert (
        set(one["metrics"])
        == set(two["metrics"])
        >= {"train/acc", "val/acc", "val/f1", "test/f1", "test/loss"}
    )
    for name, value in one["metrics"].items():
        assert two["metrics"][name] == pytest.approx(value, rel=1e-6, abs=0), name


def test_predictions_of_two_processes_hold_every_image_once(logs):
    one, two = (dict(np.load(only_run(logs[n]) / "predictions" / "test.npz")) for n in ("one", "two"))
    assert (
        len(set(two["ids"]))
        == len(two["ids"])
        == rundir.read_summary(only_run(logs["two"]))["data"]["num_test"]
    )
    assert np.array_equal(one["ids"], two["ids"]) and np.array_equal(one["target"], two["target"])
    assert np.allclose(one["probs"], two["probs"], rtol=1e-5, atol=1e-7)


def test_checkpoint_of_two_processes_loads_anywhere(logs):
    path = only_run(logs["two"]) / "checkpoints" / "best.ckpt"
    assert all("module." not in k for k in torch.load(path, weights_only=True)["state_dict"])
    net = checkpoint.rebuild(checkpoint.load(path))
    assert net(torch.zeros(1, 3, 8, 8)).shape == (1, 2)


def test_training_of_two_processes_equals_one_with_twice_the_batch_also_when_resumed(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    common = ["experiment=mlp_digits", "trainer.limit_train_batches=4", "scheduler=none"]
    code = runs.train([*common, "trainer=cpu", "data.batch_size=32", "trainer.max_epochs=2"], run_dir=one)
    assert code == 0, runs.output(one)
    for command in (
        [*common, *processes.TWO, "data.batch_size=16", "trainer.max_epochs=1"],
        ["resume=true", "trainer.max_epochs=2"],
    ):
        process = processes.launch(*command, run_dir=two)
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 0, errors
    a, b = (runs.checkpoint(run_dir, "last")["state_dict"] for run_dir in (one, two))
    assert set(a) == set(b)
    for name in a:
        assert torch.allclose(a[name], b[name], rtol=1e-4, atol=1e-6), name
    assert [row["epoch"] for row in runs.rows(two)] == ["0", "1"]
