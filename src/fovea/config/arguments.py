"""Check what the commands on finished runs are given, before torch is imported to open a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.config.validate import ACCELERATORS, require_cores
from fovea.errors import UsageError

FORMATS = ("onnx", "torchscript", "torch_export")


def check_arguments(config: DictConfig) -> None:
    """Raise a `UsageError` for a run that is not there, and for values that no run makes sense of."""
    given: Any = {key: config[key] for key in config if not OmegaConf.is_missing(config, str(key))}
    if "output" in given and given["output"] is not None:
        _check_output(str(given["output"]))
    if "run" in given:
        _check_runs(given["run"], optional="model" in config)
    if "accelerator" in given and given["accelerator"] not in ACCELERATORS:
        raise UsageError(f"accelerator is {given['accelerator']!r}; allowed: {', '.join(ACCELERATORS)}")
    if "format" in given and given["format"] not in FORMATS:
        raise UsageError(f"format is {given['format']!r}; allowed: {', '.join(FORMATS)}")
    size = given.get("batch_size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise UsageError(f"batch_size is {size!r}; allowed: an integer of at least 1")
    workers = given.get("num_workers")
    if workers not in (None, "auto") and (not isinstance(workers, int) or workers < 0):
        raise UsageError(f"num_workers is {workers!r}; allowed: auto or an integer of at least 0")
    require_cores(workers, key="num_workers")
    chosen = given.get("checkpoint", "best")
    for checkpoint in list(chosen) if OmegaConf.is_list(chosen) else [chosen]:
        if checkpoint not in ("best", "last") and not Path(str(checkpoint)).is_file():
            raise UsageError(
                f"checkpoint={checkpoint}: there is no such file; give best, last or a file's path"
            )


def _check_runs(value: Any, *, optional: bool) -> None:
    if value is None and optional:
        return
    for run in list(value) if OmegaConf.is_list(value) else [value]:
        if run is None or not str(run).strip():
            raise UsageError("run= is empty: give run=DIR, the directory of a run")
        if not Path(str(run)).exists():
            raise UsageError(f"run={run}: there is no run directory {run}")


def _check_output(output: str) -> None:
    if not output.strip():
        raise UsageError("output= is empty: name a folder for the results")
    if Path(output).exists() and not Path(output).is_dir():
        raise UsageError(f"output={output} is a file; name a folder for the results")
