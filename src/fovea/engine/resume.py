"""Continue a run from its directory."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from fovea.config.groups import groups
from fovea.config.help import keys
from fovea.config.overrides import nearest, parse
from fovea.engine import rundir
from fovea.errors import UsageError

log = logging.getLogger(__name__)
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
    last = run_dir / "checkpoints" / "last.ckpt"
    read = rundir.read_strangers_config(run_dir)
    _confirm(read, config, given, anew=not last.is_file())
    saved = rundir.move(_overridden(read, given), run_dir)
    return Start(saved, last if last.is_file() else None, claimed=True)


def _confirm(saved: DictConfig, config: DictConfig, given: list[str], *, anew: bool) -> None:
    """Switch off in a saved config what downloads or opens other files, unless this call says it too."""
    keys: dict[str, bool | None] = {"data.download": False, "data.dataset.download": False}
    loggers = saved.get("logger") or {}
    keys |= {f"logger.{name}.offline": True for name, node in loggers.items() if "offline" in (node or {})}
    keys |= {f"metrics.values.{name}.folder": None for name in saved.metrics.get("values") or {}}
    keys |= {"model.pretrained": False, "model.checkpoint": None} if anew else {}
    said = {g.lstrip("+").split("=")[0] for g in given}
    for key, off in keys.items():
        value = OmegaConf.select(saved, key, default=off)
        if value == off or key in said or OmegaConf.select(config, key, default="absent") == value:
            continue
        if key.startswith(("model.", "metrics.")):
            raise UsageError(
                f"the run's config.yaml has {key}={value}; a file alone does not decide that: give {key}=… "
                "again beside resume=true"
            )
        log.warning("%s=%s is not taken from the run's config.yaml; give %s=… to have it", key, value, key)
        OmegaConf.update(saved, key, off)


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
