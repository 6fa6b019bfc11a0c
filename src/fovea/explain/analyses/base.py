"""Base class of the analyses of a model, which show more than one map per image, and what they share."""

from __future__ import annotations

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from torch import Tensor

from fovea.explain.core.class_choice import LogitSelector, SelectedClass
from fovea.explain.core.model import ExplainedModel
from fovea.files import replacing_text
from fovea.page.blocks import Block
from fovea.page.formats import no_formula


class Analysis(ABC):
    """Base class of the analyses of a model, such as its filters or its attention."""

    title: str

    @abstractmethod
    def __call__(self, model: ExplainedModel, folder: Path) -> Sequence[Block]:
        """Write figures, tables (CSV) and arrays into `folder`, which exists; return the blocks to show.

        Raises:
            ValueError: a model that this analysis cannot be made of, saying why and what can be used instead.
        """


def file_stem(model: ExplainedModel, row: int) -> str:
    """Return a file name without ending for an image: its number, and what its id allows of a name."""
    name = re.sub(r"[^\w.-]+", "_", PurePath(str(model.ids[row])).stem)[:60]
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
    index = LogitSelector(classes=classes, target=wanted).index
    if index is None:
        raise ValueError(f"{wanted!r} is not one class: give a class's name or its index")
    return index


def first_selected(
    model: ExplainedModel, output: Any, label: Tensor
) -> tuple[list[int], list[SelectedClass]]:
    """Return which images of a batch have a selected class, and the first class of each."""
    selected = model.selector.select(output, label)
    rows = [i for i, classes in enumerate(selected) if classes]
    return rows, [selected[i][0] for i in rows]


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str]) -> Path:
    """Write rows as CSV; None is blank."""
    with replacing_text(path) as file:
        writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: no_formula(cell) for name, cell in row.items()} for row in rows)
    return path
