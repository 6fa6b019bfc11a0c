"""The maps of one image, of every model and method, and the columns under which they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fovea.explain.core.class_choice import SelectedClass


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """One map, or why there is none.

    Attributes:
        method: its name, such as `grad_cam`; with the layer where several are asked for: `layer`.
        selected: the class that the map explains; None of a method without target, such as rollout.
        map: (H, W) float32 over the image as the model takes it; None where `problem` says why.
        signed: whether negative values mean the opposite of positive ones.
    """

    method: str
    layer: str | None = None
    selected: SelectedClass | None = None
    map: np.ndarray | None = None
    signed: bool = False
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImageAttributions:
    """The maps of one image by one model.

    Attributes:
        model: its name.
        id: of the image.
        picture: the image as the model takes it, uint8 (H, W, 3).
        predicted: the class with the highest probability.
        truth: name of the true class, None where it is not known.
        correct: whether the prediction is right, None where the true class is not known.
        attributions: in the order of methods, layers and classes.
    """

    model: str
    id: str
    picture: np.ndarray
    predicted: SelectedClass
    truth: str | None = None
    correct: bool | None = None
    attributions: list[Attribution] = field(default_factory=list)

    def by_column(self) -> dict[MapColumn, Attribution]:
        """Return the maps under their columns."""
        ranks: Counter[tuple[str, str | None]] = Counter()
        found = {}
        for one in self.attributions:
            key = (one.method, one.layer)
            found[MapColumn(*key, ranks[key])] = one
            ranks[key] += 1
        return found


@dataclass(frozen=True)
class MapColumn:
    """A column for a method, layer and class; `rank` counts the classes of one method."""

    method: str
    layer: str | None = None
    rank: int = 0

    @property
    def lines(self) -> list[str]:
        """The heading."""
        more = [] if self.rank == 0 else [f"class no. {self.rank + 1}"]
        return [self.method, *([self.layer] if self.layer else []), *more]


def merge(rows: Iterable[Iterable[MapColumn]]) -> list[MapColumn]:
    """Return the columns of all rows; those of a method, and of its layers, stay together."""
    tree: dict[str, dict[str | None, int]] = {}
    for row in rows:
        for column in row:
            layers = tree.setdefault(column.method, {})
            layers[column.layer] = max(layers.get(column.layer, 0), column.rank + 1)
    return [
        MapColumn(method, layer, rank)
        for method, layers in tree.items()
        for layer, ranks in layers.items()
        for rank in range(ranks)
    ]


def true_class(records: Sequence[ImageAttributions]) -> str | None:
    """Return the true class of an image; of several models, the first that knows it."""
    return next((record.truth for record in records if record.truth is not None), None)


def signs(records: Iterable[ImageAttributions]) -> list[bool]:
    """Return which colour bars are needed: False for unsigned maps, True for signed ones."""
    return sorted({a.signed for r in records for a in r.attributions if a.map is not None})
