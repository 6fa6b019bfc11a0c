"""Name images and classes in the way that all studies share, and write their tables."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from fovea.explain.core.class_choice import ClassQuestions
from fovea.explain.core.model import Subject


def file_stem(subject: Subject, row: int) -> str:
    """Return a file name without ending for an image: its number, and what its id allows of a name."""
    name = re.sub(r"[^\w.-]+", "_", PurePath(str(subject.ids[row])).stem)[:60]
    return f"{row:04d}_{name}"


def layers_of(layer: str | Sequence[str] | None) -> list[str]:
    """Return the paths asked for: none, one, or several, also as `a,b`."""
    parts = layer.split(",") if isinstance(layer, str) else layer or []
    return [part.strip() for part in parts]


def class_name(classes: Sequence[str], index: int) -> str:
    """Return the name of a class up to its first comma: synonyms come after it."""
    return classes[index].split(",")[0] if 0 <= index < len(classes) else f"class {index}"


def class_index(classes: Sequence[str], wanted: str | int) -> int:
    """Return the index of a class given by name or index.

    Raises:
        ValueError: no such class, with the names near it.
    """
    index = ClassQuestions(classes=classes, target=wanted).index
    if index is None:
        raise ValueError(f"{wanted!r} is not one class: give a class's name or its index")
    return index


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str]) -> Path:
    """Write rows as CSV; None is blank."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path
