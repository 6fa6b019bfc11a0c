"""Switch off what a config out of a file would fetch, or load by another loader than that of checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.config.kinds import options_of

SWITCHES: dict[str, dict[str, object]] = {
    "data": {"download": False},
    "model": {"pretrained": False, "checkpoint": None},
    "init": {"checkpoint": None},
    "metrics": {"folder": None},
    "logger": {"offline": True},
}
log = logging.getLogger(__name__)


def without_weights(config: DictConfig) -> DictConfig:
    """Return the config with published weights and weights from files switched off: they are at hand."""
    config = config.copy()
    plain: Any = OmegaConf.to_container(config.model)
    config.model = _switched(plain, {"pretrained": False, "checkpoint": None})
    return config


def offline(config: DictConfig) -> DictConfig:
    """Return the config of a run with nothing that downloads, and without a network from another file."""
    config = config.copy()
    plain: Any = OmegaConf.to_container(config.data)
    config.data = _switched(plain, {"download": False})
    for name, node in (config.metrics.get("values") or {}).items():
        if node and node.get("folder") is not None:
            log.warning("metrics.values.%s is not measured: no network is loaded from %s", name, node.folder)
            node.folder = None
    return config


def switches(config: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], object]]:
    """Yield what downloads, uploads or opens another file: its key, name and node, and its value when off."""
    for group, off in SWITCHES.items():
        for at, node in _nodes(config.get(group), group):
            name = node.get("_target_")
            if group == "logger" and isinstance(name, str) and "offline" in options_of(name):
                node.setdefault("offline", None)  # which may mean online
            for key in off.keys() & node.keys():
                if not isinstance(node[key], dict):
                    yield f"{at}.{key}", key, node, off[key]


def _nodes(node: Any, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        yield at, node
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield from _nodes(value, f"{at}.{key}")


def _switched(node: Any, off: dict[str, Any]) -> Any:
    """Return plain containers with the given keys set wherever they are."""
    if isinstance(node, dict):
        return {key: off[key] if key in off else _switched(value, off) for key, value in node.items()}
    if isinstance(node, list):
        return [_switched(value, off) for value in node]
    return node
