"""Open the models that are to be explained: trained runs, and nets that come without a run."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fovea.config import build
from fovea.config.values import listed
from fovea.engine.named import open_named
from fovea.engine.trained import open_run
from fovea.errors import UsageError
from fovea.explain.core.class_choice import LogitSelector
from fovea.explain.core.model import OpenedModel


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
        net=trained.net if view.explained is None else view.explained(trained.net),
        classes=trained.classes,
        preprocessing=dict(trained.preprocessing),
        source=run,
        selector=view.selector,
        data=trained.datamodule,
    )


def _of_name(name: str, config: DictConfig) -> OpenedModel:
    found = open_named(name, config)
    return OpenedModel(
        name=name,
        net=found.net,
        classes=found.classes,
        preprocessing=dict(found.preprocessing),
        source=found.source,
        selector=partial(LogitSelector, classes=found.classes),
    )
