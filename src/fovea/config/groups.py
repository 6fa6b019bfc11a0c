"""Name the config groups of the suite and their members, and compose one of them on its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fovea.config.paths import CONF

REFUSALS = (HydraException, OmegaConfBaseException, ValueError)  # what `compose` says of what cannot be
beside: list[str] = []  # folders of configs beside `conf/`: --config-dir, hydra.searchpath


def groups() -> list[str]:
    """Return the names of the config groups."""
    return sorted(p.name for p in CONF.iterdir() if p.is_dir())


def members(group: str) -> list[str]:
    """Return the names of a group's members."""
    return sorted(p.stem for p in (CONF / group).glob("*.yaml"))


def member(group: str, name: str) -> dict[str, Any]:
    """Return the values of a group member, those it builds on included; interpolations stay as written."""
    with composing():
        node = compose(f"{group}/{name}")[group]
    plain: Any = OmegaConf.to_container(node, resolve=False)
    return plain.get(name, plain)  # `method/rollout.yaml` fills the package `method.rollout`


@contextlib.contextmanager
def composing(conf: Path = CONF) -> Iterator[None]:
    """Let Hydra compose further configs, also while a command runs that it has composed."""
    state = GlobalHydra.instance()
    running = state.hydra
    state.clear()
    path = create_config_search_path(str(conf))
    for folder in beside:
        path.append("command-line", folder)
    try:
        Hydra.create_main_hydra2("fovea", path)
        yield
    finally:
        GlobalHydra.instance().hydra = running
