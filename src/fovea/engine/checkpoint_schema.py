"""What a checkpoint of this suite holds: names, types, ranges and sizes, read before anything is built."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fovea.config import gate
from fovea.data.preprocess import Preprocess
from fovea.errors import UsageError
from fovea.ops.tensor_file import odd_tensor

SPLITS = ("train", "val", "test", "unused")
MOST_CLASSES, MOST_LETTERS, MOST_PIXELS = 10**6, 4096, 2**26
VERSION = 1


def check(checkpoint: Any, path: Path) -> None:
    """Raise a `UsageError` with file and key where a checkpoint holds what no run of this suite wrote."""
    about = checkpoint.get("fovea") if isinstance(checkpoint, dict) else None
    if not isinstance(about, dict) or not isinstance(about.get("config"), dict):
        raise UsageError(
            f"{path} was not written by this suite: it has no 'fovea' entry with the config; give weights of "
            "other code by model.checkpoint=FILE"
        )
    gate.check(about["config"], source=path)
    state = checkpoint.get("state_dict")
    if odd := odd_tensor(state, bytes=path.stat().st_size):
        _refuse(path, f"state_dict: {odd}")
    for key in about.keys() - ENTRIES.keys():
        _refuse(path, f"{key!r} is unknown")
    for key, (needed, wrong) in ENTRIES.items():
        if key not in about and needed:
            _refuse(path, f"{key} is missing")
        if key in about and (why := wrong(about[key])):
            _refuse(path, f"{key} {why}")
    _count_classes(about, path)


def check_progress(checkpoint: dict[str, Any], path: Path) -> None:
    """Raise a `UsageError` where a checkpoint does not hold what a training goes on from."""
    kinds = {
        "epoch": int, "global_step": int, "loops": dict, "callbacks": dict, "optimizer_states": list,
        "lr_schedulers": list,
    }  # fmt: skip
    for key, kind in kinds.items():
        value = checkpoint.get(key)
        if not isinstance(value, kind) or (kind is int and not _int(value, 0, 2**62)):
            _refuse(path, f"{key} is no {kind.__name__}, so no training goes on from it")


def _refuse(path: Path, why: str) -> None:
    raise UsageError(
        f"{path} is refused: {why}. It is damaged or was edited: use another checkpoint=best | last | PATH, "
        "or train again"
    )


def _count_classes(about: dict[str, Any], path: Path) -> None:
    """Refuse names for fewer or more classes than the outputs that the config gives the net."""
    data, names = about["config"].get("data") or {}, about["classes"]
    known = data.get("num_classes") if isinstance(data, dict) else None
    if names and isinstance(known, int) and len(names) != known:
        _refuse(path, f"classes has {len(names)} names, but data.num_classes is {known}")
    if len(ids := about.get("category_ids", names)) != len(names):
        _refuse(path, f"category_ids has {len(ids)} numbers, but classes {len(names)} names")


def _config(value: Any) -> str:
    return ""  # the gate has seen it


def _version(value: Any) -> str:
    return "" if value == VERSION else f"is {value!r}; this suite reads {VERSION}"


def _names(value: Any) -> str:
    if not isinstance(value, list | tuple) or len(value) > MOST_CLASSES:
        return f"is no list of at most {MOST_CLASSES} names"
    for name in value:
        if not isinstance(name, str) or len(name) > MOST_LETTERS:
            return f"holds {str(name)[:40]!r}, which is no name"
    return ""


def _splits(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, dict) or not all(key in SPLITS for key in value):
        return f"is not the names of images by {', '.join(SPLITS)}"
    odd = [key for key, names in value.items() if not isinstance(names, str)]
    return f"has no names for {odd[0]}" if odd else ""


def _palette(value: Any) -> str:
    good = isinstance(value, list | tuple) and len(value) <= MOST_CLASSES
    good = good and all(
        isinstance(colour, list | tuple) and len(colour) == 3 and all(_int(v, 0, 255) for v in colour)
        for colour in value
    )
    return "" if good else "is no list of colours [red,green,blue] from 0 to 255"


def _ids(value: Any) -> str:
    good = isinstance(value, list | tuple) and len(value) <= MOST_CLASSES
    good = good and all(_int(v, 0, 2**53) for v in value) and len(set(value)) == len(value)
    return "" if good else "is no list of distinct numbers"


def _preprocessing(value: Any) -> str:
    if not isinstance(value, dict):
        return "is no mapping"
    for key in value.keys() - RULES.keys():
        return f"has the unknown key {str(key)[:40]!r}"
    for key, allowed in RULES.items():
        if key not in value:
            return f"lacks {key}"
        if not allowed(value[key]):
            return f"has {key}={str(value[key])[:40]}, which no run has"
    try:
        Preprocess(value)  # type: ignore[arg-type]
    except ValueError as error:
        return f"is wrong ({error})"
    return ""


def _int(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _size(value: Any) -> bool:
    sides = isinstance(value, list | tuple) and len(value) == 2 and all(_int(v, 1, 2**16) for v in value)
    return sides and value[0] * value[1] <= MOST_PIXELS


def _numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and 1 <= len(value) <= 3 and all(_number(v) for v in value)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


RULES: dict[str, Callable[[Any], bool]] = {
    "image_size": _size,
    "channels": lambda v: _int(v, 1, 3),
    "mean": _numbers,
    "std": _numbers,
    "interpolation": lambda v: isinstance(v, str),
    "crop_pct": _number,
    "resize": lambda v: isinstance(v, str),
}
# of each entry: whether every checkpoint has it, and what says how a value is wrong
ENTRIES: dict[str, tuple[bool, Callable[[Any], str]]] = {
    "version": (True, _version),
    "config": (True, _config),
    "preprocessing": (True, _preprocessing),
    "classes": (True, _names),
    "splits": (False, _splits),
    "palette": (False, _palette),
    "category_ids": (False, _ids),
    "vocabulary": (False, _names),
}
