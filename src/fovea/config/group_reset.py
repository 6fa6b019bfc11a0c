"""Restore the own values of a group member that is chosen after an experiment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from fovea.config.groups import REFUSALS, composing
from fovea.config.overrides import CommandLine, quote
from fovea.config.values import ABSENT

# Every group of an experiment but `trainer`: how long and how precisely it trains is not a member's affair.
SWAPPED = (
    "task", "report", "metrics", "model", "data", "augment", "optimizer", "scheduler", "finetune",
    "callbacks", "logger",
)  # fmt: skip
KEPT = ("batch_size",)  # of the data: it belongs to the learning rate, and to the memory that the net takes
Node = dict[str, Any]


def own_values(line: CommandLine, *, conf: Path) -> list[str]:
    """Return the overrides that undo what an experiment set in a group whose member is replaced.

    An experiment tunes the member that it chose itself; with `optimizer=sgd` after it, or a preset
    (`sweep=NAME`) that chooses another, sgd's own values count, and keys that only the experiment's own
    member has are gone. They are what Hydra composes with the experiment, but not without it.
    """
    chosen, experiment = line.words(*SWAPPED, "sweep"), line.words("experiment")
    if not chosen:
        return []
    try:
        with composing(conf):
            tuned = compose("train", experiment, return_hydra_config=True)
            mixed = compose("train", [*experiment, *chosen], return_hydra_config=True)
            own = compose("train", ["~experiment", *chosen])
    except REFUSALS:  # Hydra will say it of the whole command line
        return []
    before, after = tuned.hydra.runtime.choices, mixed.hydra.runtime.choices
    extra = []
    for group in SWAPPED:
        if after.get(group) == before.get(group):
            continue
        node = _plain(mixed, group)
        for path, value in _undo(node, _plain(own, group)):
            if not _given(line, group, path) and not _stays(group, path, node, value):
                key = ".".join([group, *path])
                extra.append(f"~{key}" if value is ABSENT else f"{key}={quote(value)}")
    return extra


def _plain(config: DictConfig, group: str) -> Node:
    node = config.get(group)
    return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_dict(node) else {}  # type: ignore[return-value]


def _undo(mixed: Node, own: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the paths where `mixed` differs, each with the member's own value, as high up as they differ."""
    for key, value in mixed.items():
        at, mine = (*path, str(key)), own.get(key, ABSENT)
        if isinstance(value, dict) and isinstance(mine, dict):
            yield from _undo(value, mine, at)
        elif value != mine:
            yield at, mine


def _stays(group: str, path: tuple[str, ...], node: Node, mine: Any) -> bool:
    """Whether a value is the experiment's own and not one for the member that it chose."""
    value = node[path[0]]
    if group == "data":  # no normalisation at all is what a task asks for
        return path[0] in KEPT or (path[0] in ("mean", "std") and set(value) in ({0.0}, {1.0}))
    added = mine is ABSENT and isinstance(value, dict) and "_target_" in value
    return group in ("callbacks", "logger") and added


def _given(line: CommandLine, group: str, path: tuple[str, ...]) -> bool:
    """Whether the command line says something about a path, one inside it or one around it."""
    around = [".".join([group, *path[:n]]) for n in range(1, len(path))]
    return line.given(".".join([group, *path])) or any(o.key_or_group in around for o in line.overrides)
