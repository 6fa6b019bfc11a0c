"""Run trainings in processes that a test can kill, forked from a clean one that has imported everything."""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
TIMING = ("epoch_s", "train_images_per_s")
QUICK = [
    "experiment=mlp_digits",
    "trainer=cpu",
    "trainer.limit_train_batches=4",
    "trainer.limit_val_batches=3",
    "trainer.limit_test_batches=3",
    "data.batch_size=32",
]
PRELOAD = [
    "fovea.engine.train",
    "fovea.data.module",
    "fovea.tasks.classification.task",
    "fovea.callbacks.checkpoint",
    "fovea.runs.report",
    "torchmetrics.classification",
    "albumentations",
    "wandb",
    "matplotlib.pyplot",
]


def start(
    overrides: Iterable[str],
    *,
    run_dir: Path,
    kill: tuple[str, int] | None = None,
    report: bool = False,
    fixed: bool = True,
) -> Any:
    """Start a training in a forked process; with `kill` it sends itself SIGKILL at (moment, epoch).

    `fixed` says that the user gave the directory; else it is a default, which gives way to one that is taken.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    given = [*overrides, f"run_dir={run_dir}"]
    process = context.Process(
        target=_work, args=(given, str(run_dir.parent / f"{run_dir.name}.out"), kill, report, fixed)
    )
    process.start()
    return process


def train(
    overrides: Iterable[str], *, run_dir: Path, kill: tuple[str, int] | None = None, report: bool = False
) -> int:
    """Train to the end, or to the kill; return the exit code."""
    process = start(overrides, run_dir=run_dir, kill=kill, report=report)
    process.join(120)
    if process.is_alive():
        process.kill()
    process.join()
    return process.exitcode


def output(run_dir: Path) -> str:
    """Return what the last process printed."""
    return (run_dir.parent / f"{run_dir.name}.out").read_text(encoding="utf-8")


def compose(overrides: Iterable[str]) -> Any:
    """Return the resolved config of a training command."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    from fovea.engine.train import plain

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf")):
        config = hydra_compose("train", overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    try:
        with open_dict(config):
            del config["hydra"]
        return plain(config)
    finally:
        HydraConfig.instance().cfg = None


def composed(model: str, *overrides: str) -> Any:
    """Return the config of a training of `model` on CIFAR-10, whatever the experiments say."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import open_dict

    with initialize_config_dir(str(ROOT / "conf")):
        config = hydra_compose(
            "train", overrides=["~experiment", f"model={model}", "data=cifar10", *overrides]
        )
    with open_dict(config):
        config.experiment = config.run_dir = "x"
    return config


def _work(overrides: list[str], output: str, kill: tuple[str, int] | None, report: bool, fixed: bool) -> None:
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # as in a process that was not forked from a server
    from fovea import errors
    from fovea.engine import train as engine

    if not report:  # drawing it takes longer than these trainings
        from fovea.runs import report as page

        page.write_report = lambda *args, **kwargs: None
    if kill is not None:
        _arm(*kill)
    try:
        engine.run(compose(overrides), given=overrides if fixed else overrides[:-1])
    except errors.Interrupted as stop:
        sys.exit(128 + stop.signum)


def _arm(moment: str, epoch: int) -> None:
    """Kill this process in mid-epoch, between epochs, while it writes a checkpoint, or in the test stage."""
    import lightning.pytorch as L

    from fovea.callbacks import checkpoint
    from fovea.config import build

    class Kill(L.Callback):
        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            if moment == "batch" and trainer.current_epoch == epoch and batch_idx == 1:
                _die()

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if moment == "between" and trainer.current_epoch == epoch + 1:
                _die()

        def on_validation_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            if moment == "validation" and trainer.current_epoch == epoch:
                _die()

        def on_test_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            if moment == "test":
                _die()

    original = build.callbacks
    build.callbacks = lambda *args, **kwargs: [*original(*args, **kwargs), Kill()]
    save, copy = checkpoint.BestAndLast._save, checkpoint._copy

    def half_written(self: Any, trainer: Any, path: Path) -> None:
        def write(draft: Path, **options: Any) -> None:
            draft.write_bytes(b"PK half a checkpoint")
            _die()

        if trainer.current_epoch == epoch:
            trainer.save_checkpoint = write
        save(self, trainer, path)

    def not_copied(source: Path, target: Path) -> None:
        if torch.load(source, weights_only=True)["epoch"] == epoch:
            _die()
        copy(source, target)

    if moment == "writing":
        checkpoint.BestAndLast._save = half_written  # type: ignore[method-assign]
    if moment == "copying":
        checkpoint._copy = not_copied


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def rows(run_dir: Path) -> list[dict[str, str]]:
    """Return `metrics.csv` without the columns that hold times."""
    with (run_dir / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in TIMING} for row in csv.DictReader(file)]


def checkpoint(run_dir: Path, name: str) -> dict[str, Any]:
    """Return a checkpoint's contents."""
    return torch.load(run_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)


def difference(a: Any, b: Any, at: str = "") -> str | None:
    """Return where two nested containers first differ, bit by bit; None when they are the same."""
    if isinstance(a, torch.Tensor):
        same = isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        return None if same else at
    if isinstance(a, dict):
        if not isinstance(b, dict) or list(map(str, a)) != list(map(str, b)):
            return f"{at} keys: {list(a)} / {list(b) if isinstance(b, dict) else b}"
        return next((d for k in a if (d := difference(a[k], b[k], f"{at}.{k}"))), None)
    if isinstance(a, list | tuple):
        if type(a) is not type(b) or len(a) != len(b):
            return f"{at} length"
        return next(
            (d for i, (x, y) in enumerate(zip(a, b, strict=True)) if (d := difference(x, y, f"{at}[{i}]"))),
            None,
        )
    return None if a == b or (a != a and b != b) else f"{at}: {a!r} / {b!r}"
