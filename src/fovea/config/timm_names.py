"""Check the names of timm's architectures without importing timm, which takes seconds."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.config.values import listed
from fovea.errors import UsageError

NAMED = {  # what takes one of timm's names
    f"fovea.models.{place}" for place in ("timm.create", "strided_maps.StridedMaps", "feature_map.FeatureMap")
}
REGISTERED = re.compile(r"^@register_model\s*\ndef (\w+)\(", flags=re.MULTILINE)
DEPRECATED = re.compile(r"register_model_deprecations\(__name__, \{(.*?)\}\)", flags=re.DOTALL)


def check_timm_names(config: DictConfig) -> None:
    """Raise a `UsageError` for a net of the config's model that is not in timm, with the nearest names.

    A package that was let in may have registered others: then timm is asked when the net is built.
    """
    asked = dict.fromkeys(_asked(config))
    if not asked or os.environ.get("FOVEA_PACKAGES"):
        return
    known = timm_names()
    for name in asked:
        if known and name.partition(".")[0] not in known:
            near = difflib.get_close_matches(name, sorted(known), n=5, cutoff=0.0)
            raise UsageError(f"model.name={name!r} is not in timm; near it are {', '.join(near)}")


def _asked(config: DictConfig) -> Iterator[str]:
    if not OmegaConf.is_dict(config.get("model")):
        return
    nodes: list[Any] = [OmegaConf.to_container(config.model, resolve=False)]
    while nodes:
        node = nodes.pop()
        if not isinstance(node, dict):
            continue
        nodes += node.values()
        if node.get("_target_") in NAMED and node.get("name") == "${model.name}":
            yield from listed(config.model, "name")
        elif node.get("_target_") in NAMED and "${" not in str(node.get("name")):
            yield str(node.get("name"))


@cache
def timm_names() -> frozenset[str]:
    """Return the names that timm's sources register, old ones included; none where there is no timm."""
    found = importlib.util.find_spec("timm")
    folders = list(found.submodule_search_locations or ()) if found else []
    text = "\n".join(
        path.read_text(encoding="utf-8") for f in folders for path in Path(f).glob("models/*.py")
    )
    old = re.findall(r"^\s*'(\w+)[\w.]*'\s*:", "\n".join(DEPRECATED.findall(text)), flags=re.MULTILINE)
    return frozenset([*REGISTERED.findall(text), *old])
