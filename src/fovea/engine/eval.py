"""Evaluate a trained run on one of its splits."""

from __future__ import annotations

import hashlib
import inspect
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class
from omegaconf import DictConfig

from fovea.config import build
from fovea.config.values import count, require
from fovea.engine.imports import import_torchmetrics_fast
from fovea.engine.log import configure
from fovea.engine.processes import stop_signals
from fovea.engine.trained import Trained, device, open_run
from fovea.errors import UsageError
from fovea.files import write_json
from fovea.page.formats import counted

if TYPE_CHECKING:
    from fovea.data.module import DataModule

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")


def main(config: DictConfig) -> None:
    """Print and write the metrics of `split` with a checkpoint of `run`."""
    require(config, "run")
    if config.split not in SPLITS:
        raise UsageError(f"split is {config.split!r}; allowed: {', '.join(SPLITS)}")
    configure(None)
    import_torchmetrics_fast()
    with stop_signals():
        trained = open_run(config.run, config.checkpoint)
        metrics, data = measure(trained, config)
    out = Path(config.run) if Path(config.run).is_dir() else trained.path.parent
    views = None if config.tta is None else list(config.tta)
    file = out / _file_name(config, trained.path)
    facts = {
        "split": config.split, "checkpoint": str(trained.path), "tta": views, "data": data,
        "metrics": metrics,
    }  # fmt: skip
    write_json(file, facts)
    from fovea.page.text_table import text_table

    head = f"{config.split}, {counted(data['num_images'], 'image')}"
    log.info("\n%s\n%s\n%s", text_table(list(metrics.items()), ["metric", head]), trained.path, file)


def _file_name(config: DictConfig, checkpoint: Path) -> str:
    """Name the result after what was measured: one file for each split, checkpoint and place of the data."""
    parts = ["eval", str(config.split)]
    if checkpoint.name != "best.ckpt" and checkpoint != Path(config.run):
        parts.append(checkpoint.stem)
    if config.data_root is not None:
        root = Path(str(config.data_root)).resolve()
        parts += [root.name, hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()[:6]]
    return "_".join(parts) + ("" if config.tta is None else "_tta") + ".json"


def measure(trained: Trained, config: DictConfig) -> tuple[dict[str, float], dict[str, Any]]:
    """Return every metric of the task on one split, without augmentation, and what data that was."""
    import lightning.pytorch as L

    run = _measured_as_asked(trained.config, config)
    if device(str(config.accelerator)).type == "cpu" and run.trainer.precision == "16-mixed":
        run.trainer.precision = "32-true"
    datamodule = trained.datamodule(data_root=config.data_root, num_workers=config.num_workers)
    if not len(datamodule.splits[config.split]):
        why = "".join(f"; {line}" for line in datamodule.differences.lines())
        raise UsageError(f"the run's data has no {config.split} split{why}")
    datamodule.splits["test"] = datamodule.splits[config.split]
    # after the set-up, which wants batches that the training images fill
    datamodule.batch_size = count(config, "batch_size", datamodule.batch_size)
    datamodule.channels_last = bool(run.channels_last)
    task = build.task(run, trained.net)
    trainer = L.Trainer(
        accelerator=config.accelerator, devices=1, precision=run.trainer.precision, logger=False,
        enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False,
        use_distributed_sampler=False,
    )  # fmt: skip
    (found,) = trainer.test(task, datamodule=datamodule, verbose=False)
    metrics = {k.replace("test/", f"{config.split}/"): float(v) for k, v in found.items()}
    return metrics, {**about_data(datamodule, trained, config), "num_images": task.measured["test"]}


def about_data(module: DataModule, trained: Trained, config: DictConfig) -> dict[str, Any]:
    """Describe the data that are measured, and how they differ from those of the run."""
    root = trained.config.data.get("root") if config.data_root is None else config.data_root
    known = {"name": module.name, "root": None if root is None else str(root)}
    return {**known, "classes": module.classes, **module.differences.facts()}


def _measured_as_asked(run: DictConfig, config: DictConfig) -> DictConfig:
    """Return the run's config with the test-time augmentation of the command; it is not compiled."""
    run = run.copy()
    run.compile = False
    if config.get("tta") is not None:
        if "tta" not in inspect.signature(get_class(run.task._target_)).parameters:
            raise UsageError(f"tta={list(config.tta)}: this task has no test-time augmentation")
        run.task.tta = list(config.tta)
    return run
