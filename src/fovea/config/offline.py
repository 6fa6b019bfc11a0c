"""Switch off what a config out of a file would fetch, or load by another loader than that of checkpoints."""

from __future__ import annotations

import logging
from typing import Any

from omegaconf import DictConfig, OmegaConf

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


def _switched(node: Any, off: dict[str, Any]) -> Any:
    """Return plain containers with the given keys set wherever they are."""
    if isinstance(node, dict):
        return {key: off[key] if key in off else _switched(value, off) for key, value in node.items()}
    if isinstance(node, list):
        return [_switched(value, off) for value in node]
    return node
