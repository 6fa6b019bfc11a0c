"""Name a run after what it is: its experiment, and what the command line changes of that."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fovea.compare.settings import is_ignored
from fovea.config.groups import groups
from fovea.config.overrides import parse

# Besides what makes no other experiment: the machine, and what is only looked at.
LEFT_OUT = ("trainer", "trainer.accelerator", "trainer.devices", "trainer.strategy", "debug")
CHOICES = ("model", "model.name", "data")  # what directories are named after
LONGEST, ODD = 100, re.compile(r"[^\w.,:+=@-]+")
given: list[str] = []  # the words of the command, as they were typed


def changes(experiment: str) -> str:
    """Return the name of a run: `vit_digits model=tiny optimizer.lr=0.01`."""
    pairs = sorted(_changed(given), key=lambda pair: pair[0] not in groups())  # the chosen members first
    name = experiment
    for key, value in pairs:
        longer = f"{name} {key}={_shown(value)}"
        name = longer if len(longer) <= LONGEST else name
    return name[:LONGEST]


def choices() -> str:
    """Return the end of a directory's name: the chosen model and data, `_tiny_mnist`, or nothing."""
    chosen = [
        re.sub(r"[^\w.-]+", "-", value)[:40].strip("-") for key, value in _changed(given) if key in CHOICES
    ]
    return "".join(f"_{value}" for value in chosen)


def renamed(name: str, words: list[str]) -> str:
    """Return the name of a run that goes on with other values: what it says of a key follows the key."""
    for key, value in _changed(words):
        said = re.compile(rf"(?<!\S){re.escape(key)}=\S+")
        name = said.sub(f"{key}={_shown(value)}", name)
    return name


def _shown(value: str) -> str:
    return ODD.sub("-", value).strip("-")


def _changed(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield key and value of each word that changes what is trained."""
    for override in parse(words).overrides:
        key, value = str(override.key_or_group), str(override.input_line).partition("=")[2]
        machine = key in LEFT_OUT or key.startswith("hydra")
        if not (override.is_delete() or is_ignored(key) or machine):
            yield key, value.rpartition("/")[2]  # of a path its last part
