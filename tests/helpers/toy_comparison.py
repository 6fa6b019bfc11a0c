"""Run directories to compare, without a training."""

import json
from pathlib import Path

import numpy as np
import yaml

from fovea.compare.examples import PairedExamples
from fovea.compare.grouping import gather
from fovea.compare.types import Comparison
from fovea.compare.verdicts import paired_tests
from fovea.runs.read import read_run
from fovea.tasks.classification.view import ClassView

HOSTILE = "<script>50% & $x_1$ | {a}\\b ~^#"  # a name of a model
CLASSES = ["cat", "dog & co", "50% <b>"]
TASK = PairedExamples(ClassView(classes=CLASSES))
VIEW = {"_target_": "fovea.tasks.classification.view.ClassView", "_partial_": True}


def write_run(
    root: Path, name: str, *, model="mlp", lr=0.1, seed=0, wrong=(), size=60, status="finished", test=True,
    overrides=(), data="toy", **config,
) -> Path:  # fmt: skip
    """Write a run that classifies `size` images; those at `wrong` are predicted as the next class."""
    run = root / name
    (run / "predictions").mkdir(parents=True)
    target = np.arange(size) % 3
    preds = target.copy()
    preds[list(wrong)] = (preds[list(wrong)] + 1) % 3
    acc = float((preds == target).mean())
    metrics = {"val/acc": acc - 0.01, "val/loss": 1 - acc}
    if test:
        metrics |= {"test/acc": acc, "test/loss": 0.9 - acc}
    written = {
        "seed": seed, "run_dir": str(run), "experiment": "toy",
        "checkpoint": {"dirpath": f"{run}/checkpoints"},
        "model": {"name": model, "net": {"_target_": f"fovea.models.{model}"}},
        "optimizer": {"_target_": "torch.optim.SGD", "lr": lr}, "report": {"view": VIEW},
        "metrics": {"monitor": "val/acc", "mode": "max"}, "data": {"name": data, "seed": seed}, **config,
    }  # fmt: skip
    (run / "config.yaml").write_text(yaml.safe_dump(written))
    summary = {
        "status": status, "experiment": "toy", "seed": seed, "metrics": metrics,
        "data": {"name": data, "source": "generated", "num_test": size, "classes": CLASSES},
        "model": {"name": model, "params": 1000 * len(model)}, "peak_memory_mb": 300,
        "best": {"monitor": "val/acc", "mode": "max", "value": acc, "epoch": 1},
        "timing": {"epoch_s": [3.0, 1.0, 1.2], "train_images_per_s": 500.0},
    }  # fmt: skip
    (run / "summary.json").write_text(json.dumps(summary))
    rows = "".join(f"{e},{e},{1 / (e + 1)},{1 / (e + 1)},{acc * e / 2}\n" for e in range(3))
    (run / "metrics.csv").write_text(f"epoch,step,train/loss,val/loss,val/acc\n{rows}")
    if overrides:
        (run / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    if test:
        probs = np.full((size, 3), 0.1, np.float32)
        probs[np.arange(size), preds] = 0.8
        ids = np.array([f"{i:03d}.png" for i in range(size)])
        order = np.random.default_rng(seed).permutation(size)  # runs need not agree on the order
        rows = {"ids": ids, "target": target, "probs": probs, "score": (preds == target).astype(np.float32)}
        rows["tie_break"] = probs[np.arange(size), target]
        np.savez(run / "predictions" / "test.npz", **{key: values[order] for key, values in rows.items()})
    return run


def groups_of(*dirs: Path):
    """Return groups in the order of their first runs, with what they predicted."""
    runs = [read_run(path) for path in dirs]
    return gather(runs, [TASK.read(run) for run in runs])[0]


def compared(folder: Path, *dirs: Path) -> Comparison:
    """Return a comparison with the first run as the baseline, without what is measured."""
    groups = groups_of(*dirs)
    return Comparison(
        metric="test/acc", groups=groups, base=groups[0], measure="test/acc",
        tests=paired_tests(groups, groups[0]), folder=folder, command="python src/compare.py",
        table=TASK.table(groups), method=["Measured <here>."], left_out=[("logs/x", "failed")],
        notes=["A & b."],
    )  # fmt: skip
