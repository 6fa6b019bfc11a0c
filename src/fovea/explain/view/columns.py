"""Line the maps of several models up: a column for every method, layer and class asked about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fovea.explain.view.attribution import Explained, Seen

if TYPE_CHECKING:
    from fovea.explain.core.class_choice import Asked


@dataclass(frozen=True)
class Column:
    """One column; `turn` counts the classes that one method was asked about."""

    method: str
    layer: str | None = None
    turn: int = 0

    @property
    def lines(self) -> list[str]:
        """The heading."""
        more = [] if self.turn == 0 else [f"class no. {self.turn + 1}"]
        return [self.method, *([self.layer] if self.layer else []), *more]


def placed(record: Explained) -> dict[Column, Seen]:
    """Return the maps of one model under their columns."""
    turns: Counter[tuple[str, str | None]] = Counter()
    found = {}
    for seen in record.seen:
        key = (seen.method, seen.layer)
        found[Column(*key, turns[key])] = seen
        turns[key] += 1
    return found


def merge(rows: Iterable[Iterable[Column]]) -> list[Column]:
    """Return the columns of all rows; those of a method, and of its layers, stay together."""
    tree: dict[str, dict[str | None, int]] = {}
    for row in rows:
        for column in row:
            layers = tree.setdefault(column.method, {})
            layers[column.layer] = max(layers.get(column.layer, 0), column.turn + 1)
    return [
        Column(method, layer, turn)
        for method, layers in tree.items()
        for layer, turns in layers.items()
        for turn in range(turns)
    ]


def said(asked: Asked) -> str:
    """Name a class with its probability."""
    return f"{asked.name} {asked.probability:.3f}"


def signs(records: Iterable[Explained]) -> Mapping[bool, None]:
    """Return which colour bars are needed: False for unsigned maps, True for signed ones."""
    return dict.fromkeys(sorted({s.signed for r in records for s in r.seen if s.map is not None}))
