"""Check what the commands on finished runs are given, before torch is imported to open a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.config.machine import require_cores
from fovea.config.timm_names import check_timm_names
from fovea.config.validate import ACCELERATORS, broken_rule
from fovea.config.values import require
from fovea.errors import UsageError

FORMATS = ("onnx", "torchscript", "torch_export")
ANSWERS = ("csv", "coco", "yolo")
SOURCES = {
    "predict": {"input": "a file, a folder, a quoted glob, or a split of the run's data: test"},
    "compare": {"runs": "a directory that is searched for runs, or a list of them: [a,b]"},
}


def _number(value: Any, least: float, *, kind: Any = int) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and bool(value >= least)


def _count(value: object) -> bool:
    return _number(value, 1)


def _count_or_null(value: object) -> bool:
    return value is None or _count(value)


def _truth(value: object) -> bool:
    return isinstance(value, bool)


def _size(value: Any) -> bool:
    pair = list(value) if OmegaConf.is_list(value) else [value]
    return value is None or (len(pair) <= 2 and all(map(_count, pair)))


def _answers(value: Any) -> bool:
    names = list(value) if OmegaConf.is_list(value) else [value]
    return bool(names) and all(name in ANSWERS for name in names)


def _share(value: Any) -> bool:
    return value is None or (_number(value, 0, kind=int | float) and bool(value <= 1))


def _truth_or_null(value: object) -> bool:
    return value is None or _truth(value)


AT_LEAST_1, OR_NULL, YES_NO = "an integer of at least 1", "null or an integer of at least 1", "true or false"
SIZE = "a number of pixels, or [height,width]"
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "accelerator": (lambda v: v in ACCELERATORS, ", ".join(ACCELERATORS)),
    "images": (_truth, YES_NO),
    "mode": (lambda v: v in (None, "max", "min"), "max, min, or null: as for the runs' own metric"),
    "num_workers": (lambda v: v in (None, "auto") or _number(v, 0), "auto or an integer of at least 0"),
    **dict.fromkeys(("batch_size", "number", "limit", "opset"), (_count_or_null, OR_NULL)),
    **dict.fromkeys(("top_k", "samples", "versions", "rounds", "every"), (_count, AT_LEAST_1)),
    **dict.fromkeys(("failures_only", "timing", "allow_different_tests"), (_truth, YES_NO)),
    **dict.fromkeys(("full_size", "whole", "across_classes"), (_truth_or_null, "null, true or false")),
    "threshold": (_share, "null or a number from 0 to 1, such as 0.3"),
    "overlap": (lambda v: _share(v) and v != 1, "null or a number from 0 to below 1, such as 0.25"),
    "seconds": (lambda v: _number(v, 0, kind=int | float), "a number of seconds"),
    "tolerance": (lambda v: _number(v, 0, kind=int | float), "a number of at least 0, such as 1e-4"),
    "seed": (lambda v: _number(v, 0) and v < 2**32, "an integer from 0 to 4294967295"),
    "annotate": (lambda v: v == "all" or _truth(v) or _number(v, 0), "a number of images, all, or false"),
    "window": (_size, SIZE),
    "data.image_size": (_size, SIZE),
    "data.channels": (_count, AT_LEAST_1),
}
OWN: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {  # of a command alone
    "export": {
        "images": (_count, AT_LEAST_1),
        "format": (lambda v: v in FORMATS, ", ".join(FORMATS)),
    },
    "predict": {"format": (_answers, f"{', '.join(ANSWERS)}, or several: [csv,coco]")},
}


def check_arguments(config: DictConfig, given: list[str], *, name: str) -> None:
    """Raise a `UsageError` for what the command `name` cannot use: a run that is not there, odd values."""
    values: Any = {key: config[key] for key in config if not OmegaConf.is_missing(config, str(key))}
    if values.get("output") is not None:
        _check_output(str(values["output"]))
    if "run" in list(config):
        require(config, "run")
        _check_runs(values["run"], optional="model" in config or "data" in values)
    for key, sources in SOURCES.get(name, {}).items():
        if key in values and (values[key] is None or not str(values[key]).strip()):
            raise UsageError(f"{key}= is empty: give {key}=PATH, {sources}")
    rules = RULES | OWN.get(name, {})
    for key, (allowed, text) in rules.items():
        value = OmegaConf.select(config, key) if key in values or key.partition(".")[0] in values else None
        asked = key in values or (value is not None and "." in key)
        if asked and not allowed(value):
            raise UsageError(f"{key} is {value!r}; allowed: {text}")
    broken = broken_rule({"data": OmegaConf.to_container(config.data)}) if name == "data" else None
    if broken:
        raise UsageError(broken)
    for key in ("data_root", "truth"):
        if values.get(key) is not None and not Path(str(values[key])).exists():
            raise UsageError(f"{key}={values[key]}: there is no such path; give one, or leave {key}= out")
    require_cores(values.get("num_workers"), key="num_workers")
    _check_checkpoints(values.get("checkpoint", "best"))
    check_model(config)
    if "run" in values and values["run"] is not None:
        _check_unread(given)
        _check_files(values["run"])


def check_model(config: DictConfig) -> None:
    """Raise for one of timm's nets that timm has not, and for weights to begin with that are not there."""
    check_timm_names(config)
    weights = OmegaConf.select(config, "model.checkpoint")
    if weights is not None and not Path(str(weights)).is_file():
        raise UsageError(
            f"model.checkpoint={weights}: there is no such file; give a file of weights, or leave it out"
        )


def _check_checkpoints(chosen: Any) -> None:
    for checkpoint in list(chosen) if OmegaConf.is_list(chosen) else [chosen]:
        if checkpoint not in ("best", "last") and not Path(str(checkpoint)).is_file():
            raise UsageError(
                f"checkpoint={checkpoint}: there is no such file; give best, last or a file's path"
            )


def _check_unread(given: list[str]) -> None:
    """Raise for what describes a model without a run beside a run, which knows it itself."""
    for word in given:
        if word.startswith("data."):
            raise UsageError(
                f"{word} is for models without a run: leave it out, or give model= in place of run="
            )


def _check_runs(value: Any, *, optional: bool) -> None:
    if value is None and optional:
        return
    for run in list(value) if OmegaConf.is_list(value) else [value]:
        if run is None or not str(run).strip():
            raise UsageError("run= is empty: give run=DIR, the directory of a run")
        if not Path(str(run)).exists():
            raise UsageError(f"run={run}: there is no run directory {run}")


def _check_files(value: Any) -> None:
    """Raise for a file that is no checkpoint: those are archives."""
    for run in list(value) if OmegaConf.is_list(value) else [value]:
        path = Path(str(run))
        if not path.is_file():
            continue
        with path.open("rb") as stream:
            start = stream.read(2)
        if start != b"PK":
            raise UsageError(
                f"run={run} is neither a run directory nor a checkpoint; give run=DIR, or run=FILE.ckpt"
            )


def _check_output(output: str) -> None:
    if not output.strip():
        raise UsageError("output= is empty: name a folder for the results")
    path = Path(output)
    if path.exists() and not path.is_dir():
        raise UsageError(f"output={output} is a file; name a folder for the results")
    above = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"output={output} cannot be made in {above}; name a folder where you may write")
