"""Check the values that users set most, before a network is built or data is read.

The types of other keys are those of the signatures: see given.py. Choices stand here although constructors
refuse others too, as a wrong one is answered before torch is imported.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.config.machine import check_machine
from fovea.config.monitors import check_monitors
from fovea.config.values import ABSENT, at
from fovea.errors import UsageError

PRECISIONS = (
    "auto", "32", "32-true", "16", "16-mixed", "16-true", "bf16", "bf16-mixed", "bf16-true",
    "64", "64-true", "transformer-engine", "transformer-engine-float16",
)  # fmt: skip
TO_LOGGERS = ("LearningRateMonitor", "DeviceStatsMonitor")  # callbacks that measure for loggers alone
COLLECTIONS = ("callbacks", "logger", "metrics.values", "augment.sample", "augment.batch")  # nodes by name
LABEL = re.compile(r"[\w.,:+=()@#-][\w .,:+=()@#-]{0,99}")
LABEL_RULE = "up to 100 letters, digits, blanks and .,:+-=_()@#"
RESIZES = ("crop", "pad", "stretch")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "area")
BATCHES = "a number of batches from 0, or a share from 0.0 to 1.0"
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
STRATEGY = re.compile(  # of Lightning
    r"auto|single_(device|xla|tpu)|xla(_debug)?|fsdp(_cpu_offload)?|deepspeed(_stage_[123](_offload(_nvme)?)?)?|"
    r"ddp(_spawn|_fork|_notebook)?(_find_unused_parameters_(true|false))?"
)
PROFILERS = ("simple", "advanced", "pytorch", "xla")


def _is_int(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _share(value: Any) -> bool:
    return value == 0 or _fraction(value)


def _fraction(value: Any) -> bool:
    return _is_number(value) and 0 < value < 1


def _size(value: object) -> bool:
    if isinstance(value, list):
        return len(value) == 2 and all(_is_int(v, 1) for v in value)
    return _is_int(value, 1)


def _devices(value: object) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"auto|-1|\d+(,\d+)*,?", value) is not None
    return value == -1 or _is_int(value, 1) or (isinstance(value, list) and bool(value))


def _batches(value: object) -> bool:
    return value is None or _is_int(value, 0) or (isinstance(value, float) and 0 <= value <= 1)


def _built(value: object) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _strategy(value: object) -> bool:
    return _built(value) or (isinstance(value, str) and STRATEGY.fullmatch(value) is not None)


def _betas(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_number(v) and 0 <= v < 1 for v in value)


def _channels(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_number(v) for v in value)


def _is_label(value: object) -> bool:
    return isinstance(value, str | int | float) and LABEL.fullmatch(str(value)) is not None


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": (lambda v: _is_int(v, 0) and v < 2**32, "an integer from 0 to 4294967295"),
    "data.batch_size": (lambda v: _is_int(v, 1), "an integer of at least 1"),
    "data.num_workers": (lambda v: v == "auto" or _is_int(v, 0), "auto or an integer of at least 0"),
    "trainer.devices": (_devices, "auto, -1 for all, a number of devices, or a list of their indices"),
    "name": (_is_label, LABEL_RULE),
    "tags": (lambda v: isinstance(v, list) and all(map(_is_label, v)), f"a list: [a,b]; each {LABEL_RULE}"),
    "run_dir": (lambda v: isinstance(v, str) and v.strip() not in ("", "None"), "the directory of the run"),
    "data.image_size": (lambda v: v is None or _size(v), "a number of pixels, or [height,width]"),
    "data.val_fraction": (_share, "0, or a number below 1"),
    "data.test_fraction": (_share, "0, or a number below 1"),
    "data.train_fraction": (
        lambda v: v is None or (_is_number(v) and 0 < v <= 1),
        "null or a number above 0, up to 1",
    ),
    "data.limit_per_class": (lambda v: v is None or _is_int(v, 1), "null or an integer of at least 1"),
    "data.num_folds": (lambda v: v is None or _is_int(v, 2), "null or an integer of at least 2"),
    "data.fold": (lambda v: v is None or _is_int(v, 0), "null or an integer from 0"),
    "data.num_classes": (
        lambda v: v is None or _is_int(v, 0),
        "null: counted from the data, or an integer of at least 0 (0: no classes)",
    ),
    "data.mean": (_channels, "a list with a number for each channel, such as [0.5]"),
    "data.std": (_channels, "a list with a number for each channel, such as [0.5]"),
    "data.on_error": (lambda v: v in ("raise", "skip"), "raise or skip"),
    "data.cache": (lambda v: isinstance(v, bool) or v == "auto", "true, false or auto"),
    "data.resize": (lambda v: v in RESIZES, ", ".join(RESIZES)),
    "data.interpolation": (lambda v: v in INTERPOLATIONS, ", ".join(INTERPOLATIONS)),
    "data.crop_pct": (lambda v: _is_number(v) and 0 < v <= 2, "a number above 0 and at most 2"),
    "data.subset": (lambda v: isinstance(v, bool), "true or false"),
    "data.download": (lambda v: isinstance(v, bool), "true or false"),
    "model.pretrained": (lambda v: isinstance(v, bool), "true or false"),
    "optimizer.lr": (lambda v: _is_number(v) and v > 0, "a number above 0"),
    "optimizer.weight_decay": (lambda v: _is_number(v) and v >= 0, "a number of at least 0"),
    "optimizer.betas": (_betas, "two numbers from 0, below 1: [0.9,0.999]"),
    "scheduler.warmup_epochs": (lambda v: _is_number(v) and v >= 0, "a number of epochs, at least 0"),
    "checkpoint.every_n_epochs": (lambda v: _is_int(v, 1), "an integer of at least 1"),
    "trainer.max_steps": (lambda v: v == -1 or _is_int(v, 1), "an integer of at least 1 (-1: no limit)"),
    "trainer.limit_train_batches": (_batches, BATCHES),
    "trainer.limit_val_batches": (_batches, BATCHES),
    "trainer.limit_test_batches": (_batches, BATCHES),
    "trainer.overfit_batches": (lambda v: v is not None and _batches(v), BATCHES),
    "trainer.check_val_every_n_epoch": (
        lambda v: v is None or _is_int(v, 1),
        "null or an integer of at least 1",
    ),
    "trainer.val_check_interval": (
        lambda v: v is None or _is_int(v, 1) or (isinstance(v, float) and 0 < v <= 1),
        "a number of batches from 1, or a share of an epoch above 0, up to 1.0",
    ),
    "trainer.log_every_n_steps": (lambda v: _is_int(v, 1), "an integer of at least 1"),
    "trainer.num_nodes": (lambda v: _is_int(v, 1), "an integer of at least 1"),
    "trainer.deterministic": (lambda v: isinstance(v, bool) or v == "warn", "true, false or warn"),
    "trainer.max_epochs": (lambda v: v == -1 or _is_int(v, 0), "an integer of at least 0 (-1: no limit)"),
    "trainer.precision": (lambda v: str(v) in PRECISIONS, ", ".join(PRECISIONS)),
    "trainer.accelerator": (lambda v: v in ACCELERATORS, ", ".join(ACCELERATORS)),
    "trainer.strategy": (_strategy, "auto, ddp, ddp_find_unused_parameters_true, ddp_spawn, fsdp, deepspeed"),
    "trainer.profiler": (
        lambda v: v is None or v in PROFILERS or _built(v),
        f"null, {', '.join(PROFILERS)}",
    ),
    "trainer.accumulate_grad_batches": (lambda v: _is_int(v, 1), "an integer of at least 1"),
    "trainer.gradient_clip_val": (
        lambda v: v is None or (_is_number(v) and v > 0),
        "null or a number above 0",
    ),
    "metrics.mode": (lambda v: v in ("min", "max"), "'min' or 'max'"),
    "checkpoint.mode": (lambda v: v in ("min", "max"), "'min' or 'max'"),
    "metrics.monitor": (
        lambda v: isinstance(v, str) and bool(v.strip()),
        "a logged metric, such as val/loss",
    ),
    "test": (lambda v: isinstance(v, bool), "true or false"),
    "channels_last": (lambda v: isinstance(v, bool), "true or false"),
    "compile": (lambda v: isinstance(v, bool), "true or false"),
    "resume": (lambda v: v in (True, False, "auto"), "true, false or auto"),
}


def validate(config: DictConfig) -> None:
    """Raise a `UsageError` that names the key, its value and what is allowed."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    if broken := broken_rule(plain):
        raise UsageError(broken)
    for collection in COLLECTIONS:
        for name, node in (at(plain, collection) or {}).items():
            if node is not None and not (isinstance(node, dict) and "_target_" in node):
                raise UsageError(
                    f"{collection}.{name} builds nothing: it has no _target_; leave the key out, or "
                    f"choose the member of {collection.split('.')[0]} that has it"
                )
    _require_logger(plain)
    _require_inside(plain)
    _require_end(plain)
    check_monitors(plain)
    check_machine(plain)


def broken_rule(plain: object) -> str | None:
    """Say which key of a resolved config has which value that is not allowed; None where all are."""
    for key, (allowed, text) in RULES.items():
        value = at(plain, key, ABSENT)
        if value is not ABSENT and not allowed(value):
            return f"{key} is {value!r}; allowed: {text}"
    return None


def _require_logger(plain: Any) -> None:
    """Raise for a callback that writes to loggers where there is none."""
    if any(plain.get("logger", {}).values()):
        return
    for name, node in plain.get("callbacks", {}).items():
        if node and str(node["_target_"]).rpartition(".")[2] in TO_LOGGERS:
            raise UsageError(
                f"callbacks.{name} writes to a logger, and this run has none: add logger=tensorboard or "
                "logger=wandb, or leave it out (metrics.csv has the learning rate of each epoch)"
            )


def _require_end(plain: object) -> None:
    """Raise for a training of any length, which no schedule fits."""
    if at(plain, "trainer.max_epochs") == at(plain, "trainer.max_steps", -1) == -1:
        raise UsageError(
            "trainer.max_epochs=-1 without trainer.max_steps has no end, and no schedule fits it: give one "
            "of them, a large one where a callback ends the training"
        )


def _require_inside(plain: object) -> None:
    """Raise for checkpoints outside the run directory, where no command would look for them."""
    run_dir, folder = at(plain, "run_dir"), at(plain, "checkpoint.dirpath")
    if (
        run_dir
        and folder
        and os.path.commonpath(map(os.path.abspath, (run_dir, folder))) != os.path.abspath(run_dir)
    ):
        raise UsageError(
            f"checkpoint.dirpath={folder} lies outside run_dir={run_dir}, where eval and resume look for "
            "checkpoints; choose the place of the whole run with run_dir=DIR"
        )
