"""What the suite's own `conf/` puts where: the keys of each place in a config, and what it calls there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fovea.config.paths import CONF

TRAINING = (
    "task", "report", "metrics", "model", "data", "augment", "optimizer", "scheduler", "finetune", "trainer",
    "callbacks", "logger", "paths",
)  # fmt: skip
GLOBAL = ("experiment", "debug", "sweep")  # groups whose members are written from the root of the config
# Where members have names of a user's choice: each may be what any member there is.
OPEN = (
    "metrics.values", "callbacks", "callbacks.*.methods", "logger", "task.losses", "augment.sample",
    "augment.batch",
)  # fmt: skip
RECORDED = ("precision_reason",)  # written by the run itself
LINK = re.compile(r"\$\{(?:oc\.select:)?([a-z]\w*(?:\.\w+)*)(?:,[^}]*)?\}")


@dataclass
class Slot:
    """A place in a config: the exact `_target_` values, the keys below, and other places it is a copy of."""

    targets: set[str] = field(default_factory=set)
    below: dict[str, Slot] = field(default_factory=dict)
    copies: set[str] = field(default_factory=set)
    in_run_dir: bool = False
    leaf: bool = False  # some file of `conf/` has no mapping here

    def add(self, node: Any, at: str = "") -> None:
        """Take in what a file of `conf/` puts here."""
        self.leaf |= not isinstance(node, dict | None)
        if isinstance(node, dict):
            if isinstance(node.get("_target_"), str):
                self.targets.add(node["_target_"])
            for key, value in node.items():
                name = "*" if at in OPEN else str(key)
                self.below.setdefault(name, Slot()).add(value, f"{at}.{name}" if at else name)
        elif isinstance(node, list):
            for value in node:
                self.below.setdefault("*", Slot()).add(value, f"{at}.*")
        elif isinstance(node, str):
            self.in_run_dir |= node.startswith("${run_dir}")
            if link := LINK.fullmatch(node):
                self.copies.add(link[1])


def child(slots: Iterable[Slot], key: str) -> list[Slot]:
    """Return what may stand below one of several slots under a key."""
    found = [slot.below[name] for slot in slots for name in (key, "*") if name in slot.below]
    return [*found, *(copy for slot in found for path in slot.copies for copy in _find(path))]


def _find(path: str) -> list[Slot]:
    slots = [training()]
    for key in path.split("."):
        slots = [slot.below[key] for slot in slots if key in slot.below]
    return slots


@cache
def training() -> Slot:
    """Return the root of all that a training's config may hold."""
    root = Slot()
    for at, node in _files():
        for key in reversed(at.split(".") if at else []):
            node = {key: node}
        root.add(node)
    for key in RECORDED:
        root.below.setdefault(key, Slot())
    return root


def _files() -> Iterator[tuple[str, Any]]:
    """Yield what each file of `conf/` holds, and where in a config that goes."""
    yield "", _read(CONF / "train.yaml")
    yield "data", _read(CONF / "data_defaults.yaml")
    for group in (*TRAINING, *GLOBAL):
        for file in sorted((CONF / group).glob("*.yaml")):
            yield "" if group in GLOBAL else group, _read(file)
    for file in sorted((CONF / "method").glob("*.yaml")):  # what the callback explains with
        yield f"callbacks.explain.methods.{file.stem}", _read(file)
    for file in sorted((CONF / "model").glob("*.yaml")):  # what slides over an image may be any net
        yield "model.net.classifier", _read(file).get("net")


def _read(file: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    node = yaml.load(file.read_text(encoding="utf-8"), Loader=loader) or {}
    return {key: value for key, value in node.items() if key not in ("defaults", "hydra")}
