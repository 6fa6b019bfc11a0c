"""Check before the first job that a study, `sweep=NAME`, varies what the experiment has."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from fovea.config.group_reset import own_values
from fovea.config.groups import REFUSALS, composing, groups, member, members
from fovea.config.overrides import CommandLine, parse, quote
from fovea.errors import UsageError


def fitted(line: CommandLine, *, conf: Path) -> list[str]:
    """Return overrides that leave out what a study sets in a network that has no such option.

    Raises:
        UsageError: the experiment lacks a key that the study varies.
    """
    study = line.choice("sweep")
    file = conf / "sweep" / f"{study}.yaml"
    if study is None or not file.is_file():
        return []
    preset: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    varied = (((preset.get("hydra") or {}).get("sweeper") or {}).get("params") or {}).keys() - set(groups())
    net = (preset.get("model") or {}).get("net") or {}
    fixed = {f"model.net.{key}": value for key, value in net.items()}
    lacking: set[str] = set()
    for words in _experiments(line):
        config = _composed(words, conf)
        if config is None:  # Hydra will say it of the whole command line
            return []
        for key in sorted(varied):
            if not _has(config, key) and not line.given(key):
                _refuse(str(study), key, config)
        lacking |= {key for key in fixed if not _has(config, key) and not line.given(key)}
    for key in sorted(lacking):
        sys.stderr.write(f"sweep={study}: {key} is left out, as the network has no such option\n")
    return [f"~{key}={quote(fixed[key])}" for key in sorted(lacking)]  # Hydra wants the value in a sweep


def _experiments(line: CommandLine) -> list[list[str]]:
    """Return the choices of groups on a command line, each combination of swept ones."""
    chosen = [o for o in line.overrides if o.key_or_group in groups() and o.key_or_group != "sweep"]
    return [list(words) for words in product(*map(_words, chosen))]


def _words(override: Override) -> list[str]:
    if not override.is_sweep_override() or not override.is_discrete_sweep():
        return [str(override.input_line)]
    return [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]


def _composed(words: list[str], conf: Path) -> DictConfig | None:
    try:
        with composing(conf):
            return compose("train", [*words, *own_values(parse(words), conf=conf)])
    except REFUSALS:
        return None


def _has(config: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return OmegaConf.is_dict(node) and name in node


def _refuse(study: str, key: str, config: DictConfig) -> None:
    group, _, rest = key.partition(".")
    has = [name for name in members(group) if _has(OmegaConf.create(member(group, name)), rest)]
    choose = f"; choose a {group} that has it: {', '.join(has)}" if has else ""
    chosen = OmegaConf.select(config, f"{group}.name")
    raise UsageError(f"sweep={study} varies {key}, which {group}={chosen} has not{choose}")
