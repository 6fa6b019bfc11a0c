"""Turn a config into objects: data, network, task, callbacks, loggers, trainer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from fovea.config.cli import RESULTS, WHITELIST
from fovea.config.monitors import monitors
from fovea.errors import UsageError
from fovea.types import ViewFactory

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.loggers import Logger
    from torch import nn

    from fovea.callbacks.checkpoint import BestAndLast
    from fovea.callbacks.record import EpochRecord
    from fovea.data.module import DataModule
    from fovea.tasks.base import Task
    from fovea.types import Preprocessing


def make(node: Any, **kwargs: Any) -> Any:
    """Instantiate a config node under the whitelist."""
    return instantiate(node, _convert_="all", _execution_whitelist_=[*WHITELIST, *RESULTS], **kwargs)


def count_classes(config: DictConfig) -> None:
    """Fill in `data.num_classes` where only the files on disk know it."""
    dataset = make(config.data.dataset)
    config.data.num_classes = len(dataset.func.find_classes(**dataset.keywords))


def follow_aspect(config: DictConfig) -> None:
    """Make `data.image_size`, the longest side, a height and a width with the aspect of the data."""
    dataset = make(config.data.dataset)
    config.data.image_size = dataset.func.find_size(longest=config.data.image_size, **dataset.keywords)


def datamodule(config: DictConfig, preprocessing: Preprocessing) -> DataModule:
    """Build the data module from those options of `data` that its class takes; nothing is read yet."""
    data: Any = OmegaConf.to_container(config.data, resolve=True)
    if "_target_" not in data:
        raise UsageError(
            "data has no _target_: start its YAML with defaults: [/data_defaults@_here_, _self_]"
        )
    module = make({"_target_": data["_target_"], "_partial_": True})
    takes = inspect.signature(module.func).parameters
    return module(
        **make({key: value for key, value in data.items() if key in takes}),
        preprocessing=preprocessing,
        seed=config.seed,
        augment_sample=make(config.augment.sample or {}),
        augment_batch=make(config.augment.batch or {}),
    )


def network(config: DictConfig) -> nn.Module:
    """Build the network, with pretrained weights where asked for."""
    return make(config.model.net)


def preprocessing(config: DictConfig, net: nn.Module | None) -> Preprocessing:
    """Return the preprocessing: the network's own statistics when pretrained, else those of the data."""
    data = config.data
    size = data.image_size if data.image_size is not None else 224
    found: Preprocessing = {
        "image_size": [size, size] if isinstance(size, int) else [int(s) for s in size],
        "channels": int(data.channels),
        "mean": [float(m) for m in data.mean],
        "std": [float(s) for s in data.std],
        "interpolation": data.get("interpolation", "bilinear"),
        "crop_pct": float(data.get("crop_pct", 1.0)),
        "resize": data.get("resize", "crop"),
    }
    own = getattr(net, "pretrained_cfg", None)
    if config.model.pretrained and own and int(data.channels) == len(own["mean"]):
        found |= {"mean": list(own["mean"]), "std": list(own["std"]), "interpolation": own["interpolation"]}
    return found


def task(config: DictConfig, net: nn.Module) -> Task:
    """Build the LightningModule around the network."""
    if config.channels_last:
        import torch

        net = net.to(memory_format=torch.channels_last)
    metrics = {name: make(node) for name, node in config.metrics.get("values", {}).items()}
    _check_monitors(config, metrics)
    built = make(
        config.task,
        net=net,
        metrics=metrics,
        optimizer=make(config.optimizer),
        scheduler=make(config.scheduler),
        finetune=make(config.finetune),
        monitor=config.metrics.monitor,
    )
    _check_task(built)
    if config.compile:
        net.compile()  # in place, so that the weights keep their names
    return built


def _check_monitors(config: DictConfig, metrics: dict[str, Any]) -> None:
    """Raise where a monitored metric is not measured on these data, or its worst would count as best."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    for key, node, mode in monitors(plain):
        name = str(node["monitor"]).partition("/")[2]
        if name in metrics and metrics[name] is None:
            known = ", ".join(other for other, metric in metrics.items() if metric is not None)
            raise UsageError(f"{key}.monitor={node['monitor']} is not measured here, only {known}")
        higher = getattr(metrics.get(name), "higher_is_better", None)
        best = None if higher is None else "max" if higher else "min"
        if best is not None and node.get("mode", best) != best:
            raise UsageError(f"{key}.monitor={node['monitor']} is best at its {best}imum: add {mode}={best}")


def _check_task(built: Any) -> None:
    """Raise where what `task` names does not do what every objective must."""
    from fovea.tasks.base import Task

    kind = type(built)
    if not isinstance(built, Task):
        names = ("step", "finetune", "monitor", "meta", "measured")
        lacking = ", ".join(name for name in names if not hasattr(built, name))
        raise UsageError(
            f"task: {kind.__name__} is no fovea.tasks.base.Task{' and lacks ' if lacking else ''}{lacking}: "
            f"inherit from Task and write step(batch); docs/extending.md shows a whole task"
        )
    if kind.step is Task.step:
        raise UsageError(f"task: {kind.__name__} lacks step(batch), which returns the loss of one batch")


def trainer(config: DictConfig, *, callbacks: list[Callback], loggers: list[Logger]) -> Trainer:
    """Build the Trainer."""
    from lightning.pytorch.callbacks import ProgressBar

    node = config.trainer.copy()
    with open_dict(node):
        plugins = node.pop("plugins", None)
    built = make(
        node,
        callbacks=[*callbacks, *(c for logger in loggers for c in getattr(logger, "callbacks", list)())],
        logger=loggers or False,
        plugins=make(plugins) if plugins else None,
        default_root_dir=str(config.run_dir),
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
        use_distributed_sampler=False,
    )
    # with trainer.max_steps Lightning would resume inside an epoch; our checkpoints end one
    built.fit_loop._iteration_based_training = lambda: False
    return built


def callbacks(config: DictConfig, *, record: EpochRecord, checkpointer: BestAndLast) -> list[Callback]:
    """Build the callbacks of the config and those that every run has."""
    from fovea.callbacks.collector import Collector
    from fovea.callbacks.finders import BatchSize
    from fovea.callbacks.first_batch import FirstBatch
    from fovea.callbacks.freezing import Freezing
    from fovea.callbacks.last_validation import LastValidation
    from fovea.callbacks.looking import Looking
    from fovea.callbacks.progress import progress
    from fovea.callbacks.seeding import EpochSeeding

    named = {name: make(node) for name, node in config.callbacks.items() if node}
    _refuse_twice(named)
    chosen = [*named.values()]
    chosen.sort(key=lambda one: not isinstance(one, BatchSize))  # a learning rate is searched for its batch
    if (answers := view(config)) is not None:
        chosen.append(Collector(view=answers, dirpath=Path(config.run_dir) / "predictions"))
    first = FirstBatch(run_dir=config.run_dir)
    own = [EpochSeeding(seed=config.seed), Freezing(), Looking(), first, *progress()]
    return [*own, *chosen, LastValidation(), record, checkpointer]


def _refuse_twice(named: Mapping[str, Callback]) -> None:
    """Raise for two callbacks whose state would have one place in the checkpoint."""
    from lightning.pytorch import Callback
    from lightning.pytorch.utilities.model_helpers import is_overridden

    first: dict[str, str] = {}
    for name, one in named.items():
        other = first.setdefault(one.state_key, name)
        if other != name and is_overridden("state_dict", one, parent=Callback):
            raise UsageError(
                f"callbacks.{other} and callbacks.{name} are both {type(one).__name__}, and a checkpoint "
                f"holds the state of one: leave callbacks.{name} out"
            )


def view(config: DictConfig, **options: Any) -> ViewFactory | None:
    """Return the factory of the task's view, with `options` changed; None where the task has none."""
    node = config.report.get("view")
    return None if node is None else make(node, **options)


def loggers(config: DictConfig) -> list[Logger]:
    """Build the loggers beyond `metrics.csv`."""
    return [make(node) for node in config.logger.values() if node]
