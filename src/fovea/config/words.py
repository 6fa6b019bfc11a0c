"""Refuse words of a command line that Hydra would misread or answer in terms of its grammar."""

from __future__ import annotations

import os
import shlex
import sys

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from fovea.config.groups import groups, members
from fovea.config.overrides import quote
from fovea.errors import UsageError

ONE = (
    "task",
    "report",
    "metrics",
    "model",
    "data",
    "optimizer",
    "scheduler",
    "finetune",
    "trainer",
    "experiment",
)
NEEDED = (
    "seed", "run_dir", "resume", "test", "checkpoint", "paths", "augment", "logger", "metrics.monitor",
    "metrics.mode", "model.name", "model.net", "data.dataset", "data.name", "data.batch_size",
)  # fmt: skip
WITH_VALUE = (
    "--config-dir",
    "-cd",
    "--config-name",
    "-cn",
    "--config-path",
    "-cp",
    "--cfg",
    "-c",
    "--package",
    "-p",
)


def check_words(argv: list[str], *, name: str) -> None:
    """Raise a `UsageError` with the word and how it is written; warn where one does not count."""
    if {"--hydra-help", "--shell-completion", "-sc"} & set(argv):
        return
    chosen: dict[str, str] = {}
    for before, word in zip(["", *argv], argv, strict=False):
        if word.startswith("-") or before in WITH_VALUE or before in ("--info", "-i"):
            continue
        override = _parsed(word)
        group = str(override.key_or_group)
        _check_sign(group, override, word, train=name == "train")
        if name != "train" or group not in ONE:
            continue
        _one_member(group, override, word)
        earlier = chosen.get(group, word)
        if earlier.lstrip("+") != word.lstrip("+") and not os.environ.get("LOCAL_RANK"):
            sys.stderr.write(f"warning: {earlier} does not count, as {word} comes after it\n")
        chosen[group] = word


def _parsed(word: str) -> Override:
    """Return the override that a word is, or raise a `UsageError` saying how to write it."""
    key, equals, value = word.partition("=")
    if not equals and not word.startswith("~"):
        raise UsageError(f"{word!r} has no value: write {word}=VALUE (quote blanks in a value)")
    if not key.strip("+~"):
        raise UsageError(f"{word!r} names no key: write KEY=VALUE")
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        pass
    if any(value.count(a) != value.count(b) for a, b in ("[]", "{}")) and value[:1] in "[{":
        raise UsageError(f"{word}: a bracket is not closed; a list is {key}=[a,b], a mapping {key}={{a:1}}")
    raise UsageError(f"{word} cannot be read; quote its value: {shlex.quote(f'{key}={quote(value)}')}")


def _check_sign(key: str, override: Override, word: str, *, train: bool) -> None:
    """Raise where `~` takes away what every command reads, or `+` adds a group that is there already."""
    value = word.partition("=")[2]
    if override.is_delete() and (not train or key in NEEDED):
        raise UsageError(f"{word}: {key} cannot be taken away; give {key}=VALUE, or leave {word} out")
    if train and (override.is_add() or override.is_force_add()) and key in groups():
        raise UsageError(f"{word}: {key} is there already; write {key}={value}")


def _one_member(group: str, override: Override, word: str) -> None:
    """Raise where a group that takes exactly one member gets none, or several."""
    advice = f"{group}=NAME takes one of: {', '.join(members(group))}"
    if override.is_delete():
        raise UsageError(f"{word}: a run needs one {group}; {advice}")
    if not override.is_sweep_override() and (not isinstance(override.value(), str) or not override.value()):
        raise UsageError(
            f"{word} chooses no {group}; {advice} (several, one after the other: -m {group}=a,b)"
        )
