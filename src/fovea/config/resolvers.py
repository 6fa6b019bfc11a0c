"""Resolvers for configs: `${hw:…}` makes [height, width], `${members:GROUP}` lists a group's members.

`${changed:EXPERIMENT}` and `${choices:}` name a run and its directory.
"""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from fovea.config import naming
from fovea.config.groups import members


def height_width(size: Any) -> list[Any]:
    """Return [height, width] of a side or of a pair."""
    return [size, size] if isinstance(size, int) else list(size)


def register() -> None:
    """Register the resolvers with OmegaConf."""
    OmegaConf.register_resolver("hw", height_width, replace=True)
    OmegaConf.register_resolver("changed", naming.changes, replace=True)
    OmegaConf.register_resolver("choices", naming.choices, replace=True)
    OmegaConf.register_resolver("members", lambda group: ", ".join(members(group)), replace=True)
