"""Let configs compute: `${hw:…}` makes [height, width], `${members:GROUP}` lists what a group can be."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from fovea.config.groups import members


def height_width(size: Any) -> list[Any]:
    """Return [height, width] of a side or of a pair."""
    return [size, size] if isinstance(size, int) else list(size)


def register() -> None:
    """Make the resolvers known to OmegaConf."""
    OmegaConf.register_resolver("hw", height_width, replace=True)
    OmegaConf.register_resolver("members", lambda group: ", ".join(members(group)), replace=True)
