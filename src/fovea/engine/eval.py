"""Evaluate a trained run on its splits."""

from __future__ import annotations

import errno
import hashlib
import inspect
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from fovea.config import build
from fovea.config.values import count, listed
from fovea.engine.eval_table import Measurement, tables
from fovea.engine.imports import import_torchmetrics_fast
from fovea.engine.log import configure
from fovea.engine.named import as_classifier, on_folder
from fovea.engine.processes import stop_signals
from fovea.engine.trained import Trained, device, open_run, precision
from fovea.errors import UsageError
from fovea.files import own_folder, write_json

if TYPE_CHECKING:
    from fovea.data.module import DataModule

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
FOR_TASKS = ("tta", "full_size", "window")  # keys of the command that only some tasks have


def main(config: DictConfig) -> None:
    """Print and write the metrics of each split with each checkpoint of `run`."""
    _check_what(config)
    splits, checkpoints = listed(config, "split"), listed(config, "checkpoint")
    for split in splits:
        if split not in SPLITS:
            raise UsageError(f"split is {split!r}; allowed: {', '.join(SPLITS)}")
    if not splits or not checkpoints:
        raise UsageError("give split= and checkpoint= at least one value: split=[val,test] checkpoint=best")
    configure(None)
    import_torchmetrics_fast()
    found, began = [], time.strftime("%Y-%m-%d_%H-%M-%S")
    with stop_signals():
        for name in dict.fromkeys(checkpoints):
            trained = _opened(config, name)
            for split in dict.fromkeys(splits):
                file = _file(config, trained.path, split, began=began)
                found.append(_kept(measure(trained, config, split), file))
    log.info("\n%s", tables(found))


def _check_what(config: DictConfig) -> None:
    """Raise where neither a run nor a net and its images are given, or both."""
    if (config.run is None) == (config.get("model") is None):
        raise UsageError(
            "give run=DIR, or model=timm model.name=NAME model.checkpoint=FILE data.classes=[…] data_root=DIR"
        )
    if config.run is None and config.data_root is None:
        raise UsageError(
            "model= is measured on images in folders named after its classes: give data_root=DIR"
        )


def _opened(config: DictConfig, checkpoint: str) -> Trained:
    if config.run is not None:
        return open_run(config.run, checkpoint)
    return on_folder(as_classifier(str(config.model.name), config), Path(str(config.data_root)))


def _kept(one: Measurement, file: Path) -> Measurement:
    """Write a measurement beside the checkpoint; one in a place that is only to be read is shown alone."""
    try:
        own_folder(file.parent)
        write_json(file, one.facts())
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        log.warning("%s cannot be written (%s): the figures are only shown", file, error.strerror)
        return one
    return replace(one, file=file)


def measure(trained: Trained, config: DictConfig, split: str) -> Measurement:
    """Return every metric of the task on one split, without augmentation, and what data that was."""
    import lightning.pytorch as L

    from fovea.callbacks.collector import Collector

    run, place = _measured_as_asked(trained.config, config), device(str(config.accelerator))
    task = build.task(run, trained.net)
    datamodule = _data(trained, config, split)
    datamodule.channels_last = bool(run.channels_last)
    datamodule.own_size = bool(getattr(task, "full_size", False))
    view = build.view(run)
    collector = None if view is None else Collector(view=view)
    trainer = L.Trainer(
        accelerator=config.accelerator, devices=1, logger=False,
        precision=precision(run, place),  # type: ignore[arg-type]
        enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False,
        use_distributed_sampler=False, callbacks=[] if collector is None else [collector],
    )  # fmt: skip
    (metrics,) = trainer.test(task, datamodule=datamodule, verbose=False)
    data = {**about_data(datamodule, trained, config), "num_images": task.measured["test"]}
    return Measurement(
        split=split, checkpoint=trained.path, data=data,
        metrics={k.removeprefix("test/"): float(v) for k, v in metrics.items()},
        options={key: _plain(config[key]) for key in FOR_TASKS},
        view=None if collector is None else collector.view,
        arrays={} if collector is None else collector.arrays,
    )  # fmt: skip


def _data(trained: Trained, config: DictConfig, split: str) -> DataModule:
    """Return the data of the run, with `split` to be tested."""
    datamodule = trained.datamodule(data_root=config.data_root, num_workers=config.num_workers)
    if not len(datamodule.splits[split]):
        why = "".join(f"; {line}" for line in datamodule.differences.lines())
        raise UsageError(f"the run's data has no {split} split{why}")
    datamodule.splits["test"] = datamodule.splits[split]
    # after the set-up, which wants batches that the training images fill
    datamodule.batch_size = count(config, "batch_size", datamodule.batch_size)
    return datamodule


def about_data(module: DataModule, trained: Trained, config: DictConfig) -> dict[str, Any]:
    """Describe the data that are measured, and how they differ from those of the run."""
    root = trained.config.data.get("root") if config.data_root is None else config.data_root
    known = {"name": module.name, "root": None if root is None else str(root)}
    return {**known, "classes": module.classes, **module.differences.facts()}


def _file(config: DictConfig, checkpoint: Path, split: str, *, began: str) -> Path:
    """Name the result after what was measured: one file for each split, checkpoint, place of data, option."""
    parts = ["eval", split]
    if config.run is None:
        return Path(str(config.paths.logs)) / "eval" / began / f"eval_{split}.json"
    if checkpoint.name != "best.ckpt" and checkpoint != Path(config.run):
        parts.append(checkpoint.stem)
    if config.data_root is not None:
        root = Path(str(config.data_root)).resolve()
        parts += [root.name, hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()[:6]]
    for key in FOR_TASKS:
        value = _plain(config[key])
        if value is not None:
            parts += [key, *(str(one).lower() for one in (value if isinstance(value, list) else [value]))]
    return (Path(config.run) if Path(config.run).is_dir() else checkpoint.parent) / f"{'_'.join(parts)}.json"


def _measured_as_asked(run: DictConfig, config: DictConfig) -> DictConfig:
    """Return the run's config with what the command changes of the measurement; it is not compiled."""
    run = run.copy()
    run.compile = False
    takes = inspect.signature(get_class(run.task._target_)).parameters
    for key in FOR_TASKS:
        if config[key] is None:
            continue
        if key not in takes:
            raise UsageError(f"{key}={_plain(config[key])}: this run's task has no such option")
        run.task[key] = _plain(config[key])
    return run


def _plain(value: Any) -> Any:
    return list(value) if OmegaConf.is_list(value) else value
