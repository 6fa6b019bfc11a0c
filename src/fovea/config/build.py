"""Turn a config into objects: data, network, task, callbacks, loggers, trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from fovea.config.cli import RESULTS, WHITELIST
from fovea.types import ViewFactory


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


def datamodule(config: DictConfig, preprocessing: dict[str, Any]) -> Any:
    """Build the data module; nothing is read yet."""
    from fovea.data.module import DataModule

    data = config.data
    same = (
        "name", "num_classes", "batch_size", "num_workers", "val_fraction", "test_fraction", "split_seed",
        "targets", "on_error", "cache", "download", "train_fraction", "limit_per_class", "fold", "num_folds",
    )  # fmt: skip
    plain = OmegaConf.to_container(OmegaConf.create({key: data[key] for key in same if key in data}))
    return DataModule(
        dataset=make(data.dataset),
        preprocessing=preprocessing,  # type: ignore[arg-type]
        seed=config.seed,
        augment_sample=make(config.augment.sample or {}),
        augment_batch=make(config.augment.batch or {}),
        **plain,  # type: ignore[arg-type]
    )


def network(config: DictConfig) -> Any:
    """Build the network, with pretrained weights where asked for."""
    return make(config.model.net)


def preprocessing(config: DictConfig, net: Any) -> dict[str, Any]:
    """Say how images become inputs: the network's own statistics when pretrained, else those of the data."""
    data = config.data
    size = data.image_size if data.image_size is not None else 224
    size = [int(size)] * 2 if isinstance(size, int) else [int(s) for s in size]
    found: dict[str, Any] = {
        "image_size": size,
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


def task(config: DictConfig, net: Any) -> Any:
    """Build the LightningModule around the network."""
    if config.channels_last:
        import torch

        net = net.to(memory_format=torch.channels_last)
    metrics = {name: make(node) for name, node in config.metrics.get("values", {}).items()}
    built = make(
        config.task,
        net=net,
        metrics=metrics,
        optimizer=make(config.optimizer),
        scheduler=make(config.scheduler),
        finetune=make(config.finetune),
        monitor=config.metrics.monitor,
    )
    if config.compile:
        net.compile()  # in place, so that the weights keep their names
    return built


def trainer(config: DictConfig, *, callbacks: list[Any], loggers: list[Any], run_dir: Path) -> Any:
    """Build the Trainer."""
    node = config.trainer.copy()
    with open_dict(node):
        plugins = node.pop("plugins", None)
    return make(
        node,
        callbacks=[*callbacks, *(c for logger in loggers for c in getattr(logger, "callbacks", list)())],
        logger=loggers or False,
        plugins=make(plugins) if plugins else None,
        default_root_dir=str(run_dir),
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=any(_is_bar(c) for c in callbacks),
        use_distributed_sampler=False,
    )


def callbacks(config: DictConfig, *, record: Any, keeper: Any) -> list[Any]:
    """Build the callbacks of the config and those that every run has."""
    from fovea.callbacks.collector import Collector
    from fovea.callbacks.freezing import Freezing
    from fovea.callbacks.progress import progress
    from fovea.callbacks.seeding import EpochSeeding

    chosen = [make(node) for node in config.callbacks.values() if node]
    if (answers := view(config)) is not None:
        chosen.append(Collector(view=answers, dirpath=Path(config.run_dir) / "predictions"))
    own = [EpochSeeding(seed=config.seed), Freezing(), *progress()]
    return [*own, *chosen, record, keeper]


def view(config: DictConfig, **options: Any) -> ViewFactory | None:
    """Return what makes the view of the run's task, with `options` changed; None where it has none."""
    node = config.report.get("view")
    return None if node is None else make(node, **options)


def loggers(config: DictConfig) -> list[Any]:
    """Build the loggers beyond `metrics.csv`."""
    return [make(node) for node in config.logger.values() if node]


def _is_bar(callback: Any) -> bool:
    from lightning.pytorch.callbacks import ProgressBar

    return isinstance(callback, ProgressBar)
