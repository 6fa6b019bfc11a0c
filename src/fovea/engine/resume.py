"""Continue a run from its directory."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from fovea.config.groups import groups
from fovea.config.help import keys
from fovea.config.naming import renamed
from fovea.config.offline import switches
from fovea.config.overrides import for_shell, nearest, parse
from fovea.engine import rundir
from fovea.errors import UsageError

if TYPE_CHECKING:
    from fovea.data.recorded import Recorded
    from fovea.types import Preprocessing

log = logging.getLogger(__name__)
FREE = ("run_dir", "resume")
# what decides which images train: recorded, and the same to the end of a run
SPLITTING = (
    "val_fraction", "test_fraction", "split_seed", "train_fraction", "limit_per_class", "fold", "num_folds",
)  # fmt: skip
NORMALISED = ("data.mean", "data.std")
# what the state of the checkpoint decides, whatever the config says
SETTLED = (
    "seed", *NORMALISED, "optimizer", "scheduler", "finetune", "metrics.monitor", "metrics.mode",
    "checkpoint.monitor", "checkpoint.mode", "checkpoint.tie_break",
)  # fmt: skip
NOT_SAVED = ("sweep_name", "sweep_dir")


@dataclass(frozen=True)
class Start:
    """What to run, from which checkpoint, and whether its directory exists already."""

    config: DictConfig
    ckpt_path: Path | None = None
    claimed: bool = False
    keep: bool = False  # the directory, which was there before the run, though it trains nothing
    step: int = 0
    ended: bool = False  # by early stopping, with that checkpoint


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
        if any((run_dir / "checkpoints").glob("*.ckpt")):
            raise UsageError(_unusable(run_dir, "is empty"))
        return Start(config, claimed=True)
    rundir.check_kinds(run_dir)
    last, best = (run_dir / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    if best.is_file() and not last.is_file():
        raise UsageError(
            f"{last} is missing, and to begin anew would overwrite {best}: restore it, copy best.ckpt to "
            "last.ckpt to go on after the best epoch, or start a new run"
        )
    try:
        there = rundir.read_config(run_dir)
    except UsageError as error:
        raise UsageError(_unusable(run_dir, f"is damaged ({error})")) from None
    missing = sorted(str(key) for key in config if key not in there and key not in NOT_SAVED)
    if missing:
        raise UsageError(_unusable(run_dir, f"is cut off: it lacks {', '.join(missing)}"))
    saved = confirmed(rundir.read_strangers_config(run_dir), config, given, anew=not last.is_file())
    found = rundir.read_summary(run_dir).get("found")
    found = found if isinstance(found, dict) else {}
    given = _without_repeated(given, run_dir, found)
    if last.is_file():
        _refuse_settled(saved, given, [*SETTLED, *found], last)
    else:
        _undo_search(saved, found)
    asked = rundir.move(_overridden(saved, given), run_dir)
    return _from(asked, last) if last.is_file() else Start(asked, claimed=True)


def _from(config: DictConfig, last: Path) -> Start:
    """Begin where the last checkpoint ends; refuse a length that it has passed already."""
    from fovea.engine import checkpoint
    from fovea.engine.checkpoint_schema import check_progress

    saved = checkpoint.load(last)
    check_progress(saved, last)
    epochs, step = int(saved["epoch"]) + 1, int(saved["global_step"])
    for key, reached in {"max_epochs": epochs, "max_steps": step}.items():
        asked = config.trainer.get(key)
        if asked is not None and 0 <= int(asked) < reached:
            raise UsageError(
                f"trainer.{key}={asked}, but the run has reached {reached} already; "
                f"give {reached} or more, or start a new run"
            )
    name = str(config.checkpoint._target_).rpartition(".")[2]
    same = saved["fovea"]["config"]["trainer"].get("max_epochs") == config.trainer.max_epochs
    state = saved["callbacks"].get(name)
    ended = same and isinstance(state, dict) and bool(state.get("stopped"))
    return Start(config, last, claimed=True, step=step, ended=ended)


def _without_repeated(given: list[str], run_dir: Path, found: dict[str, Any]) -> list[str]:
    """Leave out what the first command said too and the run has settled since, for a whole command to repeat.

    That is the members of groups, keys that were taken out, and values that the run found or measured itself.
    """
    command = rundir.read_summary(run_dir).get("command")
    try:
        first = shlex.split(command) if isinstance(command, str) else []
    except ValueError:  # a quote that nothing closes
        first = []
    settled = {*groups(), *found, *NORMALISED}  # init.checkpoint brings its own normalisation
    return [
        str(one.input_line)
        for one in parse([g for g in given if g.split("=")[0] not in FREE]).overrides
        if one.input_line not in first
        or not (one.key_or_group in settled or one.is_delete() or one.value() == "auto")
    ]


def _undo_search(saved: DictConfig, found: dict[str, Any]) -> None:
    """Put back the values that a finder replaced, as the run begins anew and searches again."""
    for key in ("optimizer.lr", "data.batch_size"):
        one = found.get(key)
        before = one.get("given") if isinstance(one, dict) else None
        if isinstance(before, int | float):
            OmegaConf.update(saved, key, before)


def _unusable(run_dir: Path, why: str) -> str:
    kept = [name for name in ("best", "last") if (run_dir / "checkpoints" / f"{name}.ckpt").is_file()]
    where = for_shell("run", str(run_dir))
    use = f"python src/eval.py {where} checkpoint={kept[0]} measures what was trained; " if kept else ""
    return f"{run_dir / 'config.yaml'} {why}, so the run cannot be resumed; {use}to train, start a new run"


def data_of(ckpt_path: Path, config: DictConfig) -> Recorded:
    """Return what a checkpoint recorded of its data; UsageError where the command wants other splits."""
    from fovea.data.recorded import Recorded
    from fovea.engine import checkpoint

    about = checkpoint.load(ckpt_path)["fovea"]
    before = about["config"]["data"]
    for key in SPLITTING:
        if key in before and config.data.get(key) != before[key]:
            raise UsageError(
                f"data.{key} cannot change from {before[key]} when a run is resumed, as images that trained "
                f"would be measured; start a new run with data.{key}={config.data.get(key)}"
            )
    return Recorded.read(about)


def normalised(ckpt_path: Path, preprocessing: Preprocessing) -> Preprocessing:
    """Return the preprocessing with the mean and deviation that images had in the steps before."""
    from fovea.engine import checkpoint

    before = checkpoint.load(ckpt_path)["fovea"]["preprocessing"]
    return {**preprocessing, "mean": before["mean"], "std": before["std"]}


def confirmed(saved: DictConfig, config: DictConfig, given: list[str], *, anew: bool) -> DictConfig:
    """Return a saved config without what downloads or opens other files, unless this call says it too."""
    plain: Any = OmegaConf.to_container(saved)
    said = {g.lstrip("+").split("=")[0] for g in given}
    for key, name, node, off in switches(plain):
        group, value = key.partition(".")[0], node[name]
        above = plain[group].get(name)  # what the same key below follows, unless somebody changed it
        follows = f"{group}.{name}" if above == value else key
        if value == off or {key, follows} & said or (group in ("model", "init") and not anew):
            continue
        if OmegaConf.select(config, key, default="absent") == value:
            continue
        if group in ("model", "init", "metrics"):
            raise UsageError(
                f"the run's config.yaml has {key}={value}; a file alone does not decide that: give {key}=… "
                "again beside resume=true"
            )
        log.warning("%s=%s is not taken from the run's config.yaml; give %s=… to have it", key, value, key)
        node[name] = off
    return OmegaConf.create(plain)


def _refuse_settled(saved: DictConfig, given: list[str], settled: list[str], last: Path) -> None:
    """Raise for a value that would be recorded, but not used: the checkpoint goes on with its own."""
    for override in parse(given).overrides:
        key = str(override.key_or_group)
        before = OmegaConf.select(saved, key, default=None)
        if key in groups() or not any(key == one or key.startswith(f"{one}.") for one in settled):
            continue
        if override.value() != before:
            raise UsageError(
                f"{key} cannot change from {before} when a run is resumed: it goes on with the state of its "
                f"optimizer and its best epoch; start a new run from its weights: init.checkpoint={last}"
            )


def _overridden(saved: DictConfig, given: list[str]) -> DictConfig:
    """Put the values of the command line on top of a saved config."""
    OmegaConf.set_struct(saved, True)
    for override in parse(given).overrides:
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
        replace_value(saved, key, override.value())
    if not any(word.startswith("name=") for word in given):
        saved.name = renamed(str(saved.name), given)
    OmegaConf.set_struct(saved, False)
    return saved


def replace_value(config: DictConfig, key: str, value: Any) -> None:
    """Replace a value, and what followed it when the config was resolved.

    Such as `data.dataset.root` after `data.root`. A net's own `mean` and `std` follow those of the data,
    whose normalisation it undoes.
    """
    before = OmegaConf.select(config, key)
    OmegaConf.update(config, key, value, merge=False)
    group, _, name = key.partition(".")
    if key in ("data.root", "paths.data") and before is not None:
        data = OmegaConf.to_container(config.data)
        config.data = OmegaConf.create(rundir.replaced(data, str(before), str(value)))
    elif name and "." not in name:
        for part in (group, "model") if key in NORMALISED else (group,):
            for node in _inside(config[part]):
                if name in node and node[name] == before:
                    node[name] = value


def _inside(node: Any) -> Iterator[DictConfig]:
    """Yield the nodes in a node, at any depth."""
    for child in node.values() if OmegaConf.is_dict(node) else ():
        if OmegaConf.is_dict(child):
            yield child
            yield from _inside(child)
