"""The gate: a config that comes out of a file is data, read against `conf/` before any of it is used.

A checkpoint or a run directory may come from anybody. Whatever its config would call must be what `conf/`
calls in the same place, its keys those of `conf/` or plain options of what is called there; nothing is looked
up, and no name leads out of the run directory to where something is written. A package of one's own is let in
at the keyboard: FOVEA_PACKAGES=NAME.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, NoReturn

from fovea.config.cli import PACKAGES
from fovea.config.kinds import described, fits, options_of
from fovea.config.slots import Slot, child, training
from fovea.config.validate import RULES, broken_rule
from fovea.errors import UsageError

# What is built in every run, and what else every run has.
NODES_OF_ALL = (
    "task._target_", "model.net._target_", "data._target_", "data.dataset._target_", "optimizer._target_",
    "scheduler._target_", "finetune._target_", "trainer._target_", "checkpoint._target_", "report",
    "metrics.values", "augment.sample", "augment.batch", "callbacks", "logger",
)  # fmt: skip
MAYBE_NULL = ("augment.sample", "augment.batch")
DEPTH, NODES, LETTERS = 16, 20_000, 4096
LARGEST = {"model": 10**6, "data.image_size": 2**14, "data.channels": 2**10, "data": 10**8, "": 2**63}
KEY = re.compile(r"[\w-]+")  # a dot or bracket would name another place than it stands in
# An option that `conf/` does not set is plain, unless its name says where something is or goes.
PLACES = re.compile(r"dir|path|file|folder|root|url|hub|weights|checkpoint|logger|callbacks|profiler|plugins")
# What a task of a package that was let in may measure beside ours: numbers in, numbers out.
MEASURES = re.compile(r"torchmetrics\.(classification|regression)\.[A-Z]\w+")
NAME = re.compile(r"[\w.+,/ -]*")  # in a network: of an architecture, a layer, a mode; no address
READ = ("data", "paths", "content", "style", "model", "init")  # groups in which paths name what is read
FREE_TEXT = (  # what is given in words, and opened by nobody but `train`, as weights
    "data", "paths", "run_dir", "content", "style", "model.checkpoint", "model.net.checkpoint",
    "init.checkpoint",
)  # fmt: skip


def check(config: object, *, source: Path | str, whole: bool = True) -> None:
    """Raise a `UsageError` that names file and key where a config holds what no run of this suite wrote.

    `whole` is False for a part of a config.
    """
    task = config.get("task") if isinstance(config, dict) else None
    target = task.get("_target_") if isinstance(task, dict) else None
    gate = _Gate(source, own_task=isinstance(target, str) and _let_in(target))
    gate.bounded(config)
    if not isinstance(config, dict):
        raise UsageError(f"{source} is refused: its config is no mapping of keys to values")
    for key in NODES_OF_ALL if whole else ():
        node: Any = config
        for part in key.removesuffix("._target_").split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if node is None and key in MAYBE_NULL:
            continue
        if not isinstance(node, dict) or (key.endswith("._target_") and "_target_" not in node):
            gate.refuse("lack what every run has", key)
    gate.walk(config, [training()], "")
    if broken := broken_rule(config):
        raise UsageError(f"{source} is refused: in its config, {broken}")
    gate.inside_run_dir(config, [training()], "", run_dir=str(config.get("run_dir", "")))


class Refused(UsageError):
    """What a config would do, and at which key, that no config of this suite does."""

    def __init__(self, source: Path | str, what: str, at: str) -> None:
        self.what, self.at = what, at
        super().__init__(
            f"{source} is refused: its config would {what} at {at or 'its root'}, which no config of "
            "this suite does. Only open runs that this suite wrote; a package of your own is let in with "
            "FOVEA_PACKAGES=NAME before the command"
        )


class _Gate:
    def __init__(self, source: Path | str, *, own_task: bool) -> None:
        self.source, self.own_task = source, own_task

    def refuse(self, what: str, at: str) -> NoReturn:
        raise Refused(self.source, what, at)

    def bounded(self, config: object) -> None:
        """Refuse what is too large or deep to be walked, and what would be looked up when it is read."""
        for count, (at, depth, node) in enumerate(_nodes(config)):
            if depth > DEPTH or count > NODES:
                self.refuse(f"hold more than {NODES} values, or more than {DEPTH} levels of them,", at)
            if isinstance(node, str):
                if "${" in node or node == "???":
                    self.refuse(f"evaluate {node!r}", at)
                if len(node) > LETTERS:
                    self.refuse(f"hold a text of {len(node)} letters", at)
            elif isinstance(node, dict):
                for key in node:
                    if not isinstance(key, str | int) or key == "_execution_whitelist_":
                        self.refuse(f"say itself, by {key!r}, what may be called", at)
                    if (isinstance(key, int) and not 0 <= key <= NODES) or not KEY.fullmatch(str(key)):
                        self.refuse("hold a key that is no name", at)
            elif isinstance(node, int) and abs(node) > _largest(at):
                self.refuse(f"hold a number above {_largest(at)}", at)
            elif isinstance(node, float) and not math.isfinite(node):
                self.refuse(f"hold {node}", at)
            elif not isinstance(node, int | float | list | tuple | None):
                self.refuse(f"hold a {type(node).__name__}", at)

    def walk(self, node: object, slots: Sequence[Slot], at: str) -> None:
        """Compare a part of the config with what `conf/` puts in its place."""
        nodes = any(slot.targets for slot in slots) and not any(slot.leaf for slot in slots)
        if nodes and not isinstance(node, dict | None):
            self.refuse(f"hold {str(node)[:60]!r}, which builds nothing,", at)
        if isinstance(node, dict):
            target = node.get("_target_")
            known = {name for slot in slots for name in slot.targets}
            own = isinstance(target, str) and (_let_in(target) or self._measures(target, at))
            if "_target_" in node and not own and not (isinstance(target, str) and target in known):
                self.refuse(f"call {target!r}", at)
            for key, value in node.items():
                below, place = child(slots, str(key)), f"{at}.{key}" if at else str(key)
                if not below and not own and not (isinstance(value, dict) and "_target_" in value):
                    self._unknown_key(str(key), value, target, slots, place)
                self.walk(value, below, place)
                self._kind(str(key), value, None if own else target, place)
        elif isinstance(node, list | tuple):
            for i, value in enumerate(node):
                self.walk(value, child(slots, "*"), f"{at}[{i}]")
        elif isinstance(node, str):
            self._text(node, at)

    def _measures(self, target: str, at: str) -> bool:
        return self.own_task and at.startswith("metrics.values.") and bool(MEASURES.fullmatch(target))

    def _unknown_key(self, key: str, value: object, target: object, slots: Sequence[Slot], at: str) -> None:
        """Refuse a key that `conf/` has not, unless it is plain data or a plain option of what is called."""
        special = key.startswith("_") and key.endswith("_")
        if not special and target is None and not any(slot.below for slot in slots):
            return
        if special or target is None or key not in options_of(str(target)):
            self.refuse(f"hold the unknown key {key!r}", at)
        if PLACES.search(key) and value is not None:
            self.refuse(f"set {key!r}, which says where something is or goes,", at)

    def _kind(self, key: str, value: object, target: object, at: str) -> None:
        """Refuse a value of another type than the signature of what is called says."""
        if key in ("_partial_", "_recursive_") and not isinstance(value, bool):
            self.refuse(f"hold {value!r}", at)
        hint = options_of(target).get(key) if isinstance(target, str) else None
        node = isinstance(value, dict) and "_target_" in value
        if hint is None or at in RULES or node or fits(value, hint):
            return
        self.refuse(f"hold {str(value)[:60]!r}, which is no {described(hint)},", at)

    def _text(self, text: str, at: str) -> None:
        if any(at == key or at.startswith(f"{key}.") for key in FREE_TEXT) or at.endswith("._target_"):
            return
        if at.startswith("model.") and not NAME.fullmatch(text):
            self.refuse(f"name {text!r}, which is no name of a part of a network,", at)
        if at.startswith("model.") and _leads_out(text):
            self.refuse(f"name the path {text!r}", at)

    def inside_run_dir(self, node: object, slots: Sequence[Slot], at: str, *, run_dir: str) -> None:
        """Refuse, among what writes, a path that does not lie in the run directory."""
        if isinstance(node, dict):
            for key, value in node.items():
                place = f"{at}.{key}" if at else str(key)
                self.inside_run_dir(value, child(slots, str(key)), place, run_dir=run_dir)
        elif isinstance(node, list | tuple):
            for i, value in enumerate(node):
                self.inside_run_dir(value, child(slots, "*"), f"{at}[{i}]", run_dir=run_dir)
        elif isinstance(node, str) and at.split(".")[0] not in READ:
            own = bool(run_dir) and (node == run_dir or node.startswith(f"{run_dir}/"))
            inside = own and ".." not in PurePath(node[len(run_dir) :].lstrip("/")).parts
            must = any(slot.in_run_dir for slot in slots)
            # the folder of a classifier is never opened: see offline.py
            free = at in ("run_dir", "experiment") or at.endswith(".folder")
            if not free and not inside and (must or _leads_out(node)):
                self.refuse(f"use the path {node!r}, outside its run directory,", at)


def _nodes(node: object, at: str = "", depth: int = 0) -> Iterator[tuple[str, int, object]]:
    yield at, depth, node
    if depth > DEPTH:
        return
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _nodes(value, f"{at}.{key}" if at else str(key), depth + 1)
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _nodes(value, f"{at}[{i}]", depth + 1)


def _leads_out(text: str) -> bool:
    return text.startswith(("/", "~", "\\")) or ".." in PurePath(text).parts or "://" in text


def _largest(at: str) -> int:
    if at.endswith("seed"):
        return LARGEST[""]
    return min(most for key, most in LARGEST.items() if not key or re.match(rf"{key}[.\[]", f"{at}."))


def _let_in(target: str) -> bool:
    return any(target.startswith(package.removesuffix("*")) for package in PACKAGES)
