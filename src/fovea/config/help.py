"""Explain errors of composition: the unknown key, group or member, and the nearest ones."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from fovea.config.groups import REFUSALS, composing, groups, members
from fovea.config.overrides import for_shell, nearest, parse
from fovea.config.paths import CONF
from fovea.config.signatures import arguments, built_around
from fovea.errors import explain, root_cause

JOINED = ("callbacks", "logger", "augment")  # groups of which a run takes several members


def advice(error: BaseException, argv: list[str]) -> str:
    """Return the message for an error raised before a run has its own log."""
    text = f"{error}\n{root_cause(error)}"
    for pattern, say in SAYINGS:
        if found := re.search(pattern, text):
            return say(*found.groups(), argv)
    return explain(error).split("\nConfig search path")[0]


def _command() -> str:
    """Return the name of the command that runs, which is that of its root config."""
    name = Path(sys.argv[0]).stem
    return name if (CONF / f"{name}.yaml").is_file() else "train"


def _unknown_key(key: str, argv: list[str]) -> str:
    composed = compose_choices(argv)
    plain: Any = OmegaConf.to_container(composed, resolve=False)
    above, name, node = built_around(key, plain)
    takes = arguments(str(node["_target_"])) if node is not None else None
    if takes is not None and key == f"{above}.{name}" and name in takes.types:
        return f"{key} has no value in conf/: write +{key}=VALUE, with a plus, to give it one"
    known = sorted(keys(composed))
    near = nearest(key, known)
    if near:
        return f"unknown key {key!r}; nearest: {', '.join(near)}"
    top = sorted({k.split(".")[0] for k in known})
    hint = f"all keys: python src/{_command()}.py --cfg job"
    return f"unknown key {key!r}; top-level keys: {', '.join(top)} ({hint})"


def _unknown_member(group: str, member: str, argv: list[str]) -> str:
    options = members(group)
    if not options:
        return f"unknown config group {group!r}; groups: {', '.join(groups())}"
    near = nearest(member, options)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    return f"{group}={member} does not exist{hint}\n  {group} can be: {', '.join(options)}"


def _several(key: str, values: str, argv: list[str]) -> str:
    parts = [part.strip() for part in values.split(",")]
    if key in JOINED or OmegaConf.is_list(OmegaConf.select(compose_choices(argv), key)):
        other = f", or give a list: {for_shell(key, parts)}"
    else:
        other = "; a run takes one" if key in groups() else f", or quote it: {for_shell(key, values)}"
    return f"{key}={values} is several values: add -m to run one after the other{other}"


def _other_container(argv: list[str]) -> str:
    composed = compose_choices(argv)
    for word in argv:
        key, _, value = word.partition("=")
        default = OmegaConf.select(composed, key)
        if OmegaConf.is_list(default) and value.startswith("{"):
            return f"{word}: {key} takes a list: {key}=[a,b]"
        if OmegaConf.is_dict(default) and value.startswith("["):
            inside = ", ".join(f"{key}.{name}=" for name in default)
            return f"{word}: {key} takes no list; set a key inside it: {inside}"
    return "a list was given where keys belong, or keys where a list does"


def _not_chosen(group: str, argv: list[str]) -> str:
    return f"{group}= is missing: give {group}=NAME\n  {group} can be: {', '.join(members(group))}"


def _there_already(key: str, argv: list[str]) -> str:
    word = next((word for word in argv if word.startswith(f"+{key}=")), f"+{key}=VALUE")
    return f"{word}: {key} is there already; write {word[1:]}"


def _no_variable(name: str, argv: list[str]) -> str:
    using = [word for word in argv if f"oc.env:{name}" in word]
    where = f"{using[0]}: " if using else ""
    return f"{where}the environment variable {name} is not set: write {name}=VALUE before the command"


def _no_reference(key: str, argv: list[str]) -> str:
    using = [word for word in argv if f"{{{key}" in word]
    where = f"{using[0]}: " if using else ""
    near = nearest(key, sorted(keys(compose_choices([word for word in argv if word not in using]))))
    hint = f"; nearest: {', '.join(near)}" if near else ""
    return f"{where}${{{key}}} refers to the key {key!r}, which does not exist{hint}"


def _no_resolver(name: str, argv: list[str]) -> str:
    using = [word for word in argv if f"{{{name}:" in word]
    where = f"{using[0]}: " if using else ""
    return f"{where}${{{name}:…}} means nothing here; write the value itself, or ${{oc.env:NAME}}"


def _not_a_name(argv: list[str]) -> str:
    wrong = [w for w in argv if w.partition("=")[0] in groups() and w.partition("=")[2] in ("null", "")]
    return f"{', '.join(wrong) or 'a group'}: give the name of a member, GROUP=NAME, or leave it out"


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


# What Hydra and OmegaConf say of a command line, and what we say instead.
SAYINGS: list[tuple[str, Callable[..., str]]] = [
    (r"Could not (?:override|delete from config\.) '([^']+)'", _unknown_key),
    (r"Could not append to config\. An item is already at '([^']+)'", _there_already),
    (r"Could not (?:find|override|load) '?(?:config )?([\w/]+)/([^'/\n]+)'", _unknown_member),
    (r"(?:Ambiguous value for argument|Sweep parameters) '([^=]+)=([^'\n]+)'", _several),
    (r"You must specify '(\w+)'", _not_chosen),
    (r"Environment variable '([^']+)' not found", _no_variable),
    (r"Interpolation key '([^']+)' not found", _no_reference),
    (r"Unsupported interpolation type ([\w.]+)", _no_resolver),
    (r"Config group override must be a string", _not_a_name),
    (r"Cannot merge incompatible container types", _other_container),
]
