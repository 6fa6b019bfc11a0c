"""Read what a call of predict asks for: the task's view with its options, and how much is drawn."""

from __future__ import annotations

import inspect
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.config import build
from fovea.config.values import count
from fovea.engine.trained import Trained
from fovea.errors import UsageError
from fovea.types import TaskView

# of the view, where its task has them
OPTIONS = {
    "threshold": "find any number of boxes",
    "window": "predict masks or any number of boxes",
    "overlap": "predict masks or any number of boxes",
    "whole": "find any number of boxes",
    "across_classes": "find any number of boxes",
}


def view_of(trained: Trained, config: DictConfig) -> TaskView:
    """Build the view of the run's task, with the options of this call; UsageError where it lacks one."""
    make: Any = build.view(trained.config)
    if make is None:
        raise UsageError(f"a run of {trained.config.experiment} predicts nothing of an image")
    takes = inspect.signature(make.func).parameters
    given = {"top_k": count(config, "top_k")} if "top_k" in takes else {}
    for key, kind in OPTIONS.items():
        value = config[key]
        if value is None:
            continue
        if key not in takes:
            raise UsageError(f"{key}={value} is for runs that {kind}")
        given[key] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return make(classes=trained.classes, labelling=trained.labelling, **given)


def check(config: DictConfig) -> None:
    """Refuse options that mean nothing without another, before anything is read."""
    lonely = [key for key in ("overlap", "whole", "across_classes") if config[key] is not None]
    if lonely and config.window is None:
        raise UsageError(f"{lonely[0]}= says how a window slides: add window=640, or another side in pixels")
    count(config, "every")


def most_drawn(config: DictConfig) -> int | None:
    """Return how many annotated images are written at most; None for all."""
    if config.annotate is True or config.annotate == "all":
        return None
    if config.annotate is False or config.annotate == 0:
        return 0
    if not isinstance(config.annotate, int) or config.annotate < 0:
        raise UsageError(f"annotate is {config.annotate!r}; allowed: a number of images, all, or false")
    return int(config.annotate)
