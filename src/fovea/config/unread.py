"""Refuse what the command line adds with `+` and nothing reads."""

from __future__ import annotations

import inspect
from fnmatch import fnmatch
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from fovea.config.groups import groups
from fovea.config.help import compose_choices, keys
from fovea.config.overrides import nearest, parse
from fovea.config.validate import COLLECTIONS
from fovea.errors import UsageError


def refuse_unread(config: DictConfig, given: list[str], *, allowed: list[str]) -> None:
    """Raise a `UsageError` for an added key that is no argument of what its node builds, nor asked for.

    Keys that are not added are known to the config: Hydra refuses others. `allowed` is what may be built.
    """
    line = parse(given).overrides
    added = [str(o.key_or_group) for o in line if o.is_add() or o.is_force_add()]
    added = [key for key in added if key not in groups() and not key.startswith("hydra.")]
    if not added:
        return
    plain: Any = OmegaConf.to_container(config, resolve=False)
    text = OmegaConf.to_yaml(config, resolve=False)
    known = keys(compose_choices(given))
    for key in added:
        asked_for = f"${{{key}" in text or key in known or key.rpartition(".")[0] in COLLECTIONS
        if not asked_for:
            _refuse(key, plain, known, allowed)


def _refuse(key: str, plain: dict[str, Any], known: list[str], allowed: list[str]) -> None:
    """Raise where the innermost node around `key` does not take it."""
    above, name, node = _built_around(key, plain)
    takes: list[str] | None = []
    if node is not None:
        inside = any(fnmatch(str(node["_target_"]), pattern) for pattern in allowed)
        takes = arguments(str(node["_target_"])) if inside else None  # building it will say what is wrong
        if takes is None or name in takes or name.startswith("_"):
            return
    near = nearest(key, list(dict.fromkeys([*(f"{above}.{t}" for t in takes or ()), *known])))
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise UsageError(f"unknown key {key!r}: nothing reads it{hint}")


def _built_around(key: str, plain: dict[str, Any]) -> tuple[str, str, dict[str, Any] | None]:
    """Return the path of the innermost node with a `_target_` around a key, the argument, the node."""
    parts = key.split(".")
    found: tuple[str, str, dict[str, Any] | None] = ("", key, None)
    node: Any = plain
    for i, part in enumerate(parts):
        if isinstance(node, dict) and "_target_" in node:
            found = (".".join(parts[:i]), part, node)
        node = node.get(part) if isinstance(node, dict) else None
    return found


def arguments(target: str) -> list[str] | None:
    """Return the names of the arguments of a target, those of its base classes where it passes them on.

    None where it takes any.
    """
    try:
        built = get_object(target)
        classes = built.__mro__ if isinstance(built, type) else ()
        owners = [vars(c)["__init__"] for c in classes if "__init__" in vars(c)] or [built]
        signatures = [inspect.signature(owner).parameters.values() for owner in owners]
    except Exception:  # building it will say why
        return None
    names: list[str] = []
    for parameters in signatures:
        names += [p.name for p in parameters if p.name != "self"]
        if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters):
            return names
    return None
