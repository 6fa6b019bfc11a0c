"""Write `summary.json`: what a run is, what it measured and how it ended."""

from __future__ import annotations

import logging
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.config.paths import ROOT
from fovea.engine import rundir
from fovea.runs.measured import debugging


class Summary:
    """The facts of one run, written at the start, after every epoch and at the end."""

    def __init__(self, run_dir: Path, config: DictConfig) -> None:
        self.run_dir = run_dir
        first, resumed = _commands(run_dir)
        earlier = rundir.read_summary(run_dir) if resumed else {}
        self.facts: dict[str, Any] = {
            "status": "running",
            "error": None,
            "command": first,
            "resumed": resumed,
            "debug": debugging(OmegaConf.to_container(config, resolve=True)),  # type: ignore[arg-type]
            "experiment": str(config.experiment),
            "name": str(config.name),
            "tags": [str(tag) for tag in config.tags],
            "task": str(config.task._target_).rsplit(".", 1)[-1],
            "seed": int(config.seed),
            "data": {"name": config.data.get("name"), "num_classes": config.data.get("num_classes")},
            "model": {"name": config.model.get("name"), "pretrained": config.model.get("pretrained")},
            "metrics": {},
            **{key: earlier[key] for key in ("found", "measured") if isinstance(earlier.get(key), dict)},
            "best": {
                "monitor": config.metrics.monitor,
                "mode": config.metrics.mode,
                "value": None,
                "epoch": None,
            },
            "timing": {"startup_s": 0.0, "fit_s": 0.0, "epoch_s": [], "train_images_per_s": 0.0},
            "peak_memory_mb": 0,
            "environment": environment(),
            "git_commit": git_commit(),
            "config": {
                "precision": str(config.trainer.precision),
                "batch_size": config.data.get("batch_size"),
            },
        }
        self.write()  # first: a config without its command could not be resumed by repeating that
        rundir.write_config(run_dir, config)

    def set(self, **facts: Any) -> None:
        """Add or replace facts; dicts are merged."""
        for key, value in facts.items():
            old = self.facts.get(key)
            self.facts[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value

    def write(self) -> None:
        """Write the facts so far."""
        self.facts["peak_memory_mb"] = peak_memory_mb()
        rundir.write_summary(self.run_dir, {**self.facts, "process": rundir.process()})

    def finish(self, status: str, *, error: str | None = None) -> None:
        """Write how the run ended."""
        self.set(status=status, error=error)
        try:
            self.write()
        except OSError as problem:  # a full disk, or the directory is gone: what is there says more
            logging.getLogger(__name__).warning("summary.json says no longer how the run is: %s", problem)


def _commands(run_dir: Path) -> tuple[str, list[str]]:
    """Return the command with which a run began, and those that resumed it, this one last."""
    earlier = rundir.read_summary(run_dir)
    first, resumed = earlier.get("command"), earlier.get("resumed")
    if not isinstance(first, str):
        return command_line(), []
    return first, [*(str(c) for c in resumed or [] if isinstance(resumed, list)), command_line()]


def command_line() -> str:
    """Return the command as a user would repeat it."""
    script = Path(sys.argv[0])
    try:
        script = script.resolve().relative_to(ROOT)
    except ValueError:
        script = Path(script.name)
    return shlex.join(["python", str(script), *sys.argv[1:]])


def environment() -> dict[str, str]:
    """Return the versions that a result depends on; the device is added once it is known."""
    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    return found | {p: metadata.version(p) for p in ("torch", "lightning", "torchvision", "timm")}


def git_commit() -> str | None:
    """Return the commit of the suite, with `+` where files differ from it; None outside a repository."""
    try:
        call = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(call, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory_mb() -> int:
    """Return the peak memory: of the GPU where one was used, else of this process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated() / 2**20)
    import resource

    return int(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)
    )
