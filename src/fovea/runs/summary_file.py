"""Read `summary.json`, which may come from anybody: what is of another kind than a run writes is left out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fovea.reading import read_json

log = logging.getLogger(__name__)
NUMBER = (int, float)
LARGEST = 1e300
# A kind is types, [kind] for a list, {key: kind} for an object, whose key None stands for every other one.
# Keys that are not named hold texts, numbers, true or false. Anything may be null.
CURVE = {"lr": [NUMBER], "loss": [NUMBER]}
KINDS: dict[str | None, Any] = {
    **dict.fromkeys(("status", "error", "command", "debug", "experiment", "name", "task", "git_commit"), str),
    "resumed": [str],
    "tags": [str],
    "seed": int,
    "data": {
        "name": str, "source": str, "classes": [str], "left_out": [str], "skipped": {None: [str]},
        **dict.fromkeys(("num_train", "num_val", "num_test", "num_classes", "num_skipped"), int),
    },
    "model": {"name": str, "params": int, "trainable_params": int},
    "metrics": {None: NUMBER},
    "measured": {None: int},
    "found": {None: {"given": NUMBER, "used": NUMBER, "curve": CURVE}},
    "best": {"monitor": str, "mode": str, "value": NUMBER, "epoch": int},
    "timing": {"startup_s": NUMBER, "fit_s": NUMBER, "epoch_s": [NUMBER], "train_images_per_s": NUMBER},
    "peak_memory_mb": NUMBER,
    "environment": {},
    "config": {"precision": str, "batch_size": int},
    "process": {"pid": int, "host": str, "started": NUMBER, "written": NUMBER},
}  # fmt: skip


def read_summary_file(path: Path) -> dict[str, Any]:
    """Read what fits; each key that does not is named in a warning.

    Raises:
        ValueError: it is no object of JSON; the message names the file.
        FileNotFoundError: there is none.
    """
    facts = read_json(path)
    odd = list(_leave_out(facts, KINDS, ""))
    if odd:
        several = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        log.warning("%s: %s%s is not what a run writes there; it is left out", path, odd[0], several)
    return facts


def _leave_out(node: dict[str, Any], kinds: dict[str | None, Any], at: str) -> Iterator[str]:
    """Delete what is of another kind, and yield its key."""
    for key, value in list(node.items()):
        kind, place = kinds.get(key, kinds.get(None, (str, *NUMBER, bool))), f"{at}{key}"
        if isinstance(kind, dict) and isinstance(value, dict):
            yield from _leave_out(value, kind, f"{place}.")
        elif not _fits(value, kind):
            del node[key]
            yield place[:80]


def _fits(value: Any, kind: Any) -> bool:
    if value is None:
        return True
    if isinstance(kind, dict):
        return False
    if isinstance(kind, list):
        return isinstance(value, list) and all(_fits(one, kind[0]) for one in value)
    types = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, bool):
        return bool in types
    if isinstance(value, int | float) and abs(value) >= LARGEST:
        return False
    return isinstance(value, types) or (float in types and isinstance(value, int))
