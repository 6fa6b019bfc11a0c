"""Explain errors of composition: the unknown key, group or member, and the nearest ones."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from fovea.config.groups import REFUSALS, composing, groups, members
from fovea.config.overrides import nearest, parse, quote
from fovea.config.paths import CONF
from fovea.errors import explain


def advice(error: BaseException, argv: list[str]) -> str:
    """Return the message for an error raised before a run has its own log."""
    text = str(error)
    key = re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text)
    if key:
        return _unknown_key(key[1], argv)
    group = re.search(r"Could not (?:find|override) '?(?:config )?([\w/]+)/([^'/\n]+)'", text)
    if group:
        return _unknown_member(group[1], group[2])
    several = re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^=]+)=([^'\n]+)'", text)
    if several:
        whole = shlex.quote(f"{several[1]}={quote(several[2])}")
        given = f"{several[1]}={several[2]}"
        return f"{given} is several values: add -m to run one after the other, or quote it: {whole}"
    missing = re.search(r"You must specify '(\w+)'", text)
    if missing:
        name = missing[1]
        return f"{name}= is missing: give {name}=NAME\n  {name} can be: {', '.join(members(name))}"
    return explain(error).split("\nConfig search path")[0]


def _command() -> str:
    """Return the name of the command that runs, which is that of its root config."""
    name = Path(sys.argv[0]).stem
    return name if (CONF / f"{name}.yaml").is_file() else "train"


def _unknown_key(key: str, argv: list[str]) -> str:
    known = sorted(keys(compose_choices(argv)))
    near = nearest(key, known)
    if near:
        return f"unknown key {key!r}; nearest: {', '.join(near)}"
    top = sorted({k.split(".")[0] for k in known})
    hint = f"all keys: python src/{_command()}.py --cfg job"
    return f"unknown key {key!r}; top-level keys: {', '.join(top)} ({hint})"


def _unknown_member(group: str, member: str) -> str:
    options = members(group)
    if not options:
        return f"unknown config group {group!r}; groups: {', '.join(groups())}"
    near = nearest(member, options)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    return f"{group}={member} does not exist{hint}\n  {group} can be: {', '.join(options)}"


def compose_choices(argv: list[str]) -> DictConfig:
    """Compose with the group choices of the command line alone, to learn which keys there are."""
    given = [o for o in parse(argv).overrides if not o.is_sweep_override()]
    picks = [str(o.input_line) for o in given if o.key_or_group in groups()]
    with composing():
        for overrides in (picks, []):
            try:
                return compose(_command(), overrides)
            except REFUSALS:
                continue
    return OmegaConf.create()


def keys(node: DictConfig, prefix: str = "") -> list[str]:
    """Return every key of a config, with dots; values stay unresolved."""
    names = []
    for key in node:
        names.append(f"{prefix}{key!s}")
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            names.extend(keys(child, f"{prefix}{key!s}."))
    return names
