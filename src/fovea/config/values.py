"""Read single values of a command's config, and refuse those that make no sense."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.errors import UsageError

ABSENT = object()


def at(node: Any, key: str, default: Any = None) -> Any:
    """Return the value of a dotted key in plain nested dicts, `default` where there is none."""
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return default
        node = node[part]
    return node


def require(config: DictConfig, *keys: str) -> None:
    """Raise when a key without default was not given."""
    for key in keys:
        if OmegaConf.is_missing(config, key):
            raise UsageError(
                f"{key}= is missing: give {key}={'DIR' if key == 'run' else 'PATH'} on the command line"
            )


def count(config: DictConfig, key: str, default: int | None = None) -> int:
    """Return a number of at least 1 from the command's config, `default` where it says null."""
    value = default if config[key] is None else config[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{key} is {value!r}; allowed: an integer of at least 1")
    return value


def listed(config: DictConfig, key: str) -> list[str]:
    """Return a key of the command that takes one text or a list of them."""
    value = None if OmegaConf.is_missing(config, key) else config.get(key)
    if value is None:
        return []
    return [str(v) for v in value] if OmegaConf.is_list(value) else [str(value)]
