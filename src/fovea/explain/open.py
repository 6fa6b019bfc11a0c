"""Open the models that are to be explained: trained runs, and nets that come without a run."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea import errors
from fovea.config import build
from fovea.config.paths import CONF
from fovea.config.values import listed
from fovea.engine.trained import open_run
from fovea.errors import UsageError
from fovea.explain.core.class_choice import LogitSelector
from fovea.explain.core.model import OpenedModel

log = logging.getLogger(__name__)
TIMM = "fovea.models.timm.create"
RESIZE = {"center": "crop", "squash": "stretch", "border": "pad"}  # timm's crop_mode


def open_models(config: DictConfig) -> list[OpenedModel]:
    """Open every run and every named model, each with a name of its own."""
    runs = listed(config, "run")
    if not runs and config.get("model") is None:
        raise UsageError("no model is given: give run=DIR, or model=timm model.name=NAME (model: see --help)")
    if config.get("model") is None and any(v is not None for k, v in config.data.items() if k != "channels"):
        raise UsageError("data.… is for models without a run: a run has its own size and classes")
    found = [_of_run(run, config) for run in runs]
    if config.get("model") is not None:
        names = config.model.name
        names = list(names) if OmegaConf.is_list(names) else [names]
        found += [_of_name(str(name), config) for name in names]
    return [
        replace(model, name=name, net=model.net.eval())
        for model, name in zip(found, _unique(found), strict=True)
    ]


def _unique(models: list[OpenedModel]) -> list[str]:
    """Name models shortly, safe as folders; those of one name by their source, else by number."""
    names = [model.name for model in models]
    for longer in (lambda m: f"{m.name}_{Path(m.source).name}", lambda m: f"{m.name}_{m.source}"):
        count = Counter(names)
        names = [longer(m) if count[n] > 1 else n for m, n in zip(models, names, strict=True)]
    found: list[str] = []
    for name in names:
        safe, number = re.sub(r"[^\w.+-]+", "_", name).strip("._") or "model", 1
        base = safe
        while safe in found:
            number += 1
            safe = f"{base}_{number}"
        found.append(safe)
    return found


def _of_run(run: str, config: DictConfig) -> OpenedModel:
    trained = open_run(run, config.checkpoint)
    make = build.view(trained.config)
    view = None if make is None else make(classes=trained.classes, labelling=trained.labelling)
    if view is None or view.selector is None:
        raise UsageError(
            f"run={run}: {trained.config.experiment} has no classes to explain; see its report.html"
        )
    return OpenedModel(
        name=str(trained.config.model.name),
        net=trained.net,
        classes=trained.classes,
        preprocessing=dict(trained.preprocessing),
        source=run,
        selector=view.selector,
        data=trained.datamodule,
    )


def _of_name(name: str, config: DictConfig) -> OpenedModel:
    config = _filled(name, config)

    try:
        net = build.network(config)
    except Exception as error:
        if isinstance(errors.root_cause(error), ValueError | FileNotFoundError):
            raise UsageError(errors.explain(error)) from error
        raise
    weights = config.model.get("checkpoint")
    if not config.model.pretrained and weights is None:
        log.warning("%s: the weights are random, so its maps show the architecture alone", name)
    source = "random weights"
    if weights is not None or config.model.pretrained:
        source = str(weights or "published weights")
    preprocessing: Any = _of_timm(config, net) if _is_timm(config) else build.preprocessing(config, net)
    classes = _classes(config)
    return OpenedModel(
        name=name,
        net=net,
        classes=classes,
        preprocessing=preprocessing,
        source=source,
        selector=partial(LogitSelector, classes=classes),
    )


def _is_timm(config: DictConfig) -> bool:
    return str(config.model.net.get("_target_")) == TIMM


def _filled(name: str, config: DictConfig) -> DictConfig:
    """Return the config of one model, with the number of classes and its weights settled."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    config.model.name, data = name, config.data
    if _is_timm(config):
        data.num_classes = data.num_classes if data.num_classes is not None else _count_of(name)
        local = Path(str(config.paths.data)) / "weights" / f"{name}.pth"
        if config.model.pretrained and config.model.checkpoint is None and local.is_file():
            log.info("%s: weights from %s", name, local)
            config.model.checkpoint = str(local)
        return config
    if missing := [f"data.{key}=" for key in ("num_classes", "image_size") if data[key] is None]:
        raise UsageError(f"model.name={name} does not determine its data: give {' and '.join(missing)}")
    usual: Any = OmegaConf.load(CONF / "data_defaults.yaml")
    for key in ("interpolation", "crop_pct", "resize"):
        data[key] = usual[key] if data[key] is None else data[key]
    for key in ("mean", "std"):
        data[key] = _per_channel(usual[key] if data[key] is None else data[key], int(data.channels))
    return config


def _per_channel(values: Any, channels: int) -> list[float]:
    """Return as many values as channels; one for grey is the average over the colours."""
    numbers = [float(value) for value in values]
    return numbers if len(numbers) == channels else [sum(numbers) / len(numbers)] * channels


def _count_of(name: str) -> int:
    """Return the number of classes that timm's weights of this name distinguish."""
    import timm

    base = name.partition(".")[0]
    known = [n for n in (name, base) if timm.is_model(base) and timm.models.is_model_pretrained(n)]
    found = timm.get_pretrained_cfg(known[0]) if known else None
    return 1000 if found is None else int(found.num_classes)


def _of_timm(config: DictConfig, net: Any) -> dict[str, Any]:
    """Return the preprocessing of a timm net: what the config leaves open is timm's own."""
    from timm.data import resolve_model_data_config

    own, data, channels = resolve_model_data_config(net), config.data, int(config.data.channels)
    size = data.image_size if data.image_size is not None else own["input_size"][1:]
    found: dict[str, Any] = {
        "image_size": [int(size)] * 2 if isinstance(size, int) else [int(s) for s in size],
        "channels": channels,
    }
    for key in ("mean", "std"):
        found[key] = _per_channel(own[key] if data[key] is None else data[key], channels)
    mode = RESIZE.get(own.get("crop_mode", "center"), "crop")
    for key, usual in (
        ("interpolation", own["interpolation"]),
        ("crop_pct", own["crop_pct"]),
        ("resize", mode),
    ):
        found[key] = usual if data[key] is None else data[key]
    return found


def _classes(config: DictConfig) -> list[str]:
    """Name the classes of ImageNet where there are as many, else number them."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    count = int(config.data.num_classes)
    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None or not _is_timm(config):
        return [str(i) for i in range(count)]
    info = ImageNetInfo(subset)
    return [info.index_to_description(i) for i in range(count)]
