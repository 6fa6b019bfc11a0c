"""Synthetic run directories."""

from pathlib import Path

import numpy as np

CLASSES = ["<script>alert(1)</script>", "cat & 'dog' $x$", "猫"]
HEADER = "epoch,step,train/loss,train/acc,val/loss,val/acc,lr,epoch_s\n"


def summary(**changes):
    base = {
        "status": "finished",
        "error": None,
        "command": 'python src/train.py experiment=toy "model.name=<b>"',
        "experiment": "toy <i>",
        "task": "classification",
        "seed": 0,
        "data": {"name": "toy", "source": "generated", "num_train": 1200, "num_val": 30, "num_test": 40},
        "model": {"name": "linear", "params": 11_173_962, "trainable_params": 5130},
        "metrics": {"val/acc": 0.75, "test/acc": 0.5, "test/loss": 1.25},
        "best": {"monitor": "val/acc", "value": 0.75, "epoch": 1},
        "timing": {
            "startup_s": 5.5,
            "fit_s": 192.0,
            "epoch_s": [64.0, 65.0, 63.0],
            "train_images_per_s": 1234.5,
        },
        "peak_memory_mb": 2048,
        "environment": {"python": "3.11", "torch": "2.15", "device": "cpu"},
        "git_commit": "abc1234",
    }
    base["data"] |= {"num_classes": len(CLASSES), "classes": CLASSES}
    return base | changes


def rows(count: int) -> str:
    return "".join(
        f"{e},{10 * e},{1 / (e + 1)},{e / 10},{2 / (e + 1)},{0.75 - abs(e - 1) / 10},{0.1 / (e + 1)},64.5\n"
        for e in range(count)
    )


def write_arrays(run: Path) -> None:
    rng = np.random.default_rng(0)
    target = np.array([0] * 20 + [1] * 20)  # class 2 has no test image
    probs = rng.dirichlet(np.ones(3), size=40).astype(np.float32)
    ids = np.array([f"img/{i}.png" for i in range(40)])
    np.savez(
        run / "predictions" / "test.npz", ids=ids, target=target, probs=probs,
        score=(probs.argmax(1) == target).astype(np.float32),
    )  # fmt: skip
    wrong = np.flatnonzero(probs.argmax(1) != target)[:5]
    images = rng.integers(0, 255, (len(wrong), 9, 7, 3), dtype=np.uint8)
    np.savez(
        run / "predictions" / "examples.npz", labelling=np.array("{}"), mistakes_image=images,
        mistakes_ids=ids[wrong], mistakes_truth=target[wrong], mistakes_answer=probs[wrong],
        mistakes_score=np.zeros(len(wrong), np.float32),
    )  # fmt: skip
