"""Refuse what the command line adds with `+` and nothing reads."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.config.groups import groups
from fovea.config.help import compose_choices, keys
from fovea.config.overrides import nearest, parse
from fovea.config.signatures import arguments, built_around
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
    above, name, node = built_around(key, plain)
    takes: list[str] = []
    if node is not None:
        inside = any(fnmatch(str(node["_target_"]), pattern) for pattern in allowed)
        found = arguments(str(node["_target_"])) if inside else None  # building it will say what is wrong
        if found is None or found.others or name in found.types or name.startswith("_"):
            return
        takes = list(found.types)
    near = nearest(key, list(dict.fromkeys([*(f"{above}.{t}" for t in takes), *known])))
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise UsageError(f"unknown key {key!r}: nothing reads it{hint}")
