"""Refuse words of a command line that Hydra would misread or answer in terms of its grammar."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from fovea.config.groups import groups, members
from fovea.config.overrides import for_shell
from fovea.config.paths import CONF
from fovea.errors import UsageError
from fovea.reading import read_yaml

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
    "seed", "run_dir", "resume", "test", "checkpoint", "paths", "augment", "logger", "experiment", "name",
    "tags", "channels_last", "compile", "metrics.monitor", "metrics.mode", "model.name", "model.net",
    "model.pretrained", "data.dataset", "data.name", "optimizer.lr", "checkpoint.every_n_epochs",
    "checkpoint.dirpath", "checkpoint.monitor", "checkpoint.mode", "trainer.max_epochs", "trainer.precision",
    "trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.accumulate_grad_batches",
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
    _check_values_of_options(argv)
    chosen: dict[str, str] = {}
    for before, word in zip(["", *argv], argv, strict=False):
        if word.startswith("-"):
            _check_option(word)
            continue
        if before in WITH_VALUE or before in ("--info", "-i"):
            continue
        override = _parsed(word, name=name)
        group = str(override.key_or_group)
        _check_sign(group, override, word, train=name == "train")
        if group in (ONE if name == "train" else ("data", "method")):
            _one_member(group, override, word, several=group == "method")
        if name != "train" or group not in ONE:
            continue
        earlier = chosen.get(group, word)
        if earlier.lstrip("+") != word.lstrip("+") and not os.environ.get("LOCAL_RANK"):
            sys.stderr.write(f"warning: {earlier} does not count, as {word} comes after it\n")
        chosen[group] = word


def _check_option(word: str) -> None:
    """Raise for an option that there is not, and for one that names a config or folder that is not there."""
    name, _, value = word.partition("=")
    known = [option for action in get_args_parser()._actions for option in action.option_strings]
    if not any(option.startswith(name) for option in known) and name[:2] not in known:
        key = name.lstrip("-").replace("-", "_")
        near = difflib.get_close_matches(name, known, cutoff=0.7)
        hint = f"nearest: {', '.join(near)}" if near else f"keys are written {key}=VALUE, without dashes"
        raise UsageError(f"{name} is no option of this command; {hint}; all: --help")
    if name in ("--config-name", "-cn") and value and not (CONF / f"{value}.yaml").is_file():
        raise UsageError(
            f"{word}: there is no conf/{value}.yaml, and each command reads its own; "
            "what is trained is chosen with experiment=NAME, or leave the option out"
        )
    if name in ("--config-dir", "-cd", "--config-path", "-cp") and value and not Path(value).is_dir():
        raise UsageError(f"{word}: there is no folder {value}; name one with YAML files in folders of groups")


def _check_values_of_options(argv: list[str]) -> None:
    """Raise for an option without the value that it needs, or with one that is no choice."""

    def refuse(message: str) -> NoReturn:
        raise UsageError(f"{message}; all options: --help")

    if "--version" not in argv:
        parser = get_args_parser()
        parser.error = refuse  # type: ignore[method-assign]
        parser.parse_known_args(argv)


def _parsed(word: str, *, name: str) -> Override:
    """Return the override that a word is, or raise a `UsageError` saying how to write it."""
    key, equals, value = word.partition("=")
    if not equals and ("/" in word or Path(word).exists()):
        place = {"train": "run_dir", "compare": "runs", "data": "data.root"}.get(name, "run")
        raise UsageError(f"{word!r} is a path without a key: write {for_shell(place, word)}")
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
    parts = [part.strip().strip("'\"") for part in value[1:-1].split(",")] if value[:1] == "[" else value
    raise UsageError(f"{word} cannot be read; quote its value: {for_shell(key, parts)}")


def _check_sign(key: str, override: Override, word: str, *, train: bool) -> None:
    """Raise where `~` takes away what every command reads, or `+` adds a group that is there already."""
    value = word.partition("=")[2]
    if override.is_delete() and (not train or key in NEEDED or _of_all_data(key)):
        raise UsageError(f"{word}: {key} cannot be taken away; give {key}=VALUE, or leave {word} out")
    if train and (override.is_add() or override.is_force_add()) and key in groups():
        raise UsageError(f"{word}: {key} is there already; write {key}={value}")


def _of_all_data(key: str) -> bool:
    return key.removeprefix("data.") in read_yaml(CONF / "data_defaults.yaml") and key.startswith("data.")


def _one_member(group: str, override: Override, word: str, *, several: bool) -> None:
    """Raise where a group that takes exactly one member, or `several`, gets none, or too many."""
    advice = f"{group}=NAME takes {'some' if several else 'one'} of: {', '.join(members(group))}"
    if override.is_delete():
        raise UsageError(f"{word}: a run needs one {group}; {advice}")
    if several:
        if override.value() in (None, "", []):
            raise UsageError(f"{word} chooses no {group}; {advice}")
        return
    if not override.is_sweep_override() and (not isinstance(override.value(), str) or not override.value()):
        raise UsageError(
            f"{word} chooses no {group}; {advice} (several, one after the other: -m {group}=a,b)"
        )
