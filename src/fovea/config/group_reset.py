"""Give a group member that is chosen after an experiment its own values back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from fovea.config import command_line as argv

if TYPE_CHECKING:
    from fovea.config.command_line import CommandLine

SWAPPED = ("model", "optimizer", "scheduler", "augment", "finetune")
ABSENT = object()
Node = dict[str, Any]


def own_values(line: CommandLine, *, conf: Path) -> list[str]:
    """Return the overrides that undo what an experiment set in a group whose member is replaced.

    An experiment tunes the member that it chose itself; with `optimizer=sgd` after it, sgd's own values
    count, and keys that only the experiment's own member has are gone.
    """
    name = line.choice("experiment") or _root_choices(conf).get("experiment")
    if name is None or not _file(conf, "experiment", name).is_file():
        return []
    tuned = _settings(conf, name)
    chosen = {**_root_choices(conf), **_picks(conf, name)}
    extra = []
    for group in SWAPPED:
        choice, settings = line.choice(group), tuned.get(group)
        if choice is None or choice == chosen.get(group) or not isinstance(settings, dict):
            continue
        for path, value in _undo(settings, member(conf, group, choice)):
            if not _given(line, group, path):
                key = ".".join([group, *path])
                extra.append(f"~{key}" if value is ABSENT else f"{key}={argv.quote(value)}")
    return extra


def member(conf: Path, group: str, name: str) -> Node:
    """Return what a group member says, those it builds on included; interpolations stay as written."""
    file = _file(conf, group, name)
    if not file.is_file():  # unknown: Hydra says so
        return {}
    merged: Any = OmegaConf.create()
    own = _load(file)
    defaults = own.pop("defaults", [])
    for entry in [*defaults, *([] if "_self_" in defaults else ["_self_"])]:
        if entry == "_self_":
            merged = OmegaConf.merge(merged, own)
        elif isinstance(entry, str):
            merged = OmegaConf.merge(merged, member(conf, group, _beside(name, entry)))
    return OmegaConf.to_container(merged, resolve=False)  # type: ignore[return-value]


def study_values(conf: Path, name: str) -> list[tuple[str, str]]:
    """Return the overrides that a study stands for in one of its jobs: all but Hydra's own options."""
    choices = _choices(_load(_file(conf, "sweep", name)).get("defaults", []))
    picks = [(k, v) for k, v in choices.items() if not k.startswith("hydra/")]
    node = {k: v for k, v in member(conf, "sweep", name).items() if k != "hydra"}
    return picks + [(f"++{'.'.join(path)}", argv.quote(value)) for path, value in _leaves(node)]


def _leaves(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in node.items():
        at = (*path, str(key))
        yield from _leaves(value, at) if isinstance(value, dict) and value else [(at, value)]


def _undo(settings: Node, own: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Return the paths that `settings` changes, each with the member's value, as high up as they differ."""
    found = []
    for key, value in settings.items():
        at, mine = (*path, str(key)), own.get(key, ABSENT)
        if isinstance(value, dict) and value and isinstance(mine, dict):
            found += _undo(value, mine, at)
        else:
            found.append((at, mine))
    return found


def _given(line: CommandLine, group: str, path: tuple[str, ...]) -> bool:
    """Whether the command line says something about a path, one inside it or one around it."""
    around = [".".join([group, *path[:n]]) for n in range(1, len(path))]
    return line.given(".".join([group, *path])) or any(o.key_or_group in around for o in line.overrides)


def _settings(conf: Path, name: str) -> Node:
    """Return every value that an experiment and those it builds on set."""
    own = _load(_file(conf, "experiment", name))
    merged: Any = OmegaConf.create()
    for base in _bases(conf, name, own.pop("defaults", [])):
        merged = OmegaConf.merge(merged, _settings(conf, base))
    return OmegaConf.to_container(OmegaConf.merge(merged, own), resolve=False)  # type: ignore[return-value]


def _picks(conf: Path, name: str) -> dict[str, str]:
    """Return the group members that an experiment and those it builds on choose; the outer choice counts."""
    defaults = _load(_file(conf, "experiment", name)).get("defaults", [])
    picks: dict[str, str] = {}
    for base in _bases(conf, name, defaults):
        picks |= _picks(conf, base)
    return picks | _choices(defaults)


def _bases(conf: Path, name: str, defaults: list[Any]) -> list[str]:
    entries = [e for e in defaults if isinstance(e, str) and e != "_self_"]
    entries += [
        f"/experiment/{e[k]}" for e in defaults if isinstance(e, dict) for k in e if k == "/experiment"
    ]
    bases = [e.removeprefix("/experiment/") if e.startswith("/") else _beside(name, e) for e in entries]
    return [b for b in bases if _file(conf, "experiment", b).is_file()]


def _choices(defaults: list[Any]) -> dict[str, str]:
    pairs = [(str(k), v) for entry in defaults if isinstance(entry, dict) for k, v in entry.items()]
    return {k.removeprefix("override ").strip().lstrip("/"): str(v) for k, v in pairs if v is not None}


def _root_choices(conf: Path) -> dict[str, str]:
    return _choices(_load(conf / "train.yaml").get("defaults", []))


def _beside(name: str, entry: str) -> str:
    """Resolve an entry of a defaults list relative to the file that has it."""
    return entry.split("/", 2)[2] if entry.startswith("/") else str(Path(name).parent / entry)


def _file(conf: Path, group: str, name: str) -> Path:
    return conf / group / f"{name.removesuffix('.yaml')}.yaml"


def _load(file: Path) -> Node:
    return OmegaConf.to_container(OmegaConf.load(file), resolve=False)  # type: ignore[return-value]
