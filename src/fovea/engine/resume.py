"""Continue a run from its directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fovea.config.groups import groups
from fovea.config.help import keys
from fovea.config.overrides import nearest, parse
from fovea.engine import rundir
from fovea.errors import UsageError

FREE = ("run_dir", "resume")


@dataclass(frozen=True)
class Start:
    """What to run, from which checkpoint, and whether its directory exists already."""

    config: DictConfig
    ckpt_path: Path | None = None
    claimed: bool = False


def start(config: DictConfig, given: list[str]) -> Start:
    """Find out where a run begins.

    With `resume=true` the config is the one that the run directory holds, with the values given on the
    command line put on top; `resume=auto` starts a new run where there is nothing to resume. A run that was
    stopped before its first checkpoint is repeated from the beginning.
    """
    if config.resume not in (True, False, "auto"):
        raise UsageError(f"resume is {config.resume!r}; allowed: true, false or auto")
    if config.resume is False:
        return Start(config)
    run_dir = Path(config.run_dir)
    if not any(g.startswith("run_dir=") for g in given):
        raise UsageError("resume needs run_dir=DIR, the directory of the run to continue")
    if not (run_dir / "config.yaml").is_file():
        if config.resume == "auto":
            return Start(config)
        raise UsageError(f"{run_dir} is not a run directory: it has no config.yaml")
    if (run_dir / "config.yaml").stat().st_size == 0:
        return Start(config, claimed=True)
    saved = rundir.move(_overridden(rundir.read_config(run_dir), given), run_dir)
    last = run_dir / "checkpoints" / "last.ckpt"
    return Start(saved, last if last.is_file() else None, claimed=True)


def _overridden(saved: DictConfig, given: list[str]) -> DictConfig:
    """Put the values of the command line on top of a saved config."""
    OmegaConf.set_struct(saved, True)
    for override in parse([g for g in given if g.split("=")[0] not in FREE]).overrides:
        key = override.key_or_group
        if key in groups():
            if key == "experiment" and str(override.value()) == str(saved.experiment):
                continue
            raise UsageError(
                f"{key}= cannot change when a run is resumed; start a new run with {override.input_line}"
            )
        if OmegaConf.select(saved, key, default=KeyError) is KeyError:
            near = ", ".join(nearest(key, keys(saved)))
            raise UsageError(
                f"unknown key {key!r} in the resumed run" + (f"; nearest: {near}" if near else "")
            )
        OmegaConf.update(saved, key, override.value(), merge=False)
    OmegaConf.set_struct(saved, False)
    return saved
