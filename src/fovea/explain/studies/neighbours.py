"""Show which images a model takes for alike: nearest neighbours in feature space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fovea.explain.core.model import Subject
from fovea.explain.core.pixels import to_uint8
from fovea.explain.studies.base import Study
from fovea.explain.studies.features import Metric, Neighbours, cosine, neighbours
from fovea.explain.studies.names import class_name, write_table
from fovea.explain.studies.seen import Features, collect
from fovea.page.blocks import Block, Picture, Table, Text
from fovea.page.image_grid import Tile, grid

COLUMNS = ("image", "class", "rank", "neighbour", "neighbour_class", "distance", "same_class")


class NeighbourStudy(Study):
    """Draw the first images with their nearest among all, and say how often these are of the same class.

    Args:
        queries: how many images are shown with their neighbours.
        k: how many neighbours of each.
        metric: `cosine`, `euclidean`, or any function of two sets of features that is small for what is near.
        limit: how many images are searched; null: all.
    """

    title = "Nearest neighbours"

    def __init__(
        self, *, queries: int = 6, k: int = 6, metric: Metric = cosine, limit: int | None = None
    ) -> None:
        if min(queries, k) < 1:
            raise ValueError(f"queries={queries} and k={k} must be 1 or more")
        self.queries, self.k, self.metric, self.limit = queries, k, metric, limit

    def __call__(self, subject: Subject, folder: Path) -> Sequence[Block]:
        """Write the sheet (png) and `neighbours.csv`, with the neighbours of every image."""
        seen = collect(subject, self.limit)
        if len(seen.rows) < 2:
            raise ValueError("one image has no neighbours: give two or more with input= and number=")
        k = min(self.k, len(seen.rows) - 1)
        near = neighbours(seen.features, seen.features, k=k, metric=self.metric, skip_self=True)
        self._table(subject, folder, seen, near)
        path = self._sheet(subject, folder, seen, near)
        caption = f"Left the image, then the nearest of {len(seen.rows)}, with class and distance."
        fewer = f" There are only {k} others." if k < self.k else ""
        return [
            Text(f"Classes are {seen.source}.{fewer}"),
            _agreement(subject, seen, near),
            Picture(path, f"nearest neighbours in the features of {subject.name}", caption),
        ]

    def _sheet(self, subject: Subject, folder: Path, seen: Features, near: Neighbours) -> Path:
        rows = []
        for query in range(min(self.queries, len(seen.rows))):
            index = [query, *near.index[query].tolist()]
            pictures = _pictures(subject, [seen.rows[i] for i in index])
            lines = [["image"], *([f"{far:.3g}"] for far in near.distance[query].tolist())]
            rows.append(
                [
                    Tile(
                        picture=pictures[seen.rows[i]],
                        lines=[class_name(subject.classes, int(seen.label[i])), *words],
                        ok=None if i == query else bool(seen.label[i] == seen.label[query]),
                    )
                    for i, words in zip(index, lines, strict=True)
                ]
            )
        titles = [str(subject.ids[seen.rows[query]]) for query in range(len(rows))]
        return grid(folder / "neighbours.png", rows, titles=titles)

    def _table(self, subject: Subject, folder: Path, seen: Features, near: Neighbours) -> None:
        def line(i: int, rank: int, j: int, far: float) -> dict[str, Any]:
            names = [class_name(subject.classes, int(seen.label[n])) for n in (i, j)]
            ids = [subject.ids[seen.rows[n]] for n in (i, j)]
            same = int(seen.label[i] == seen.label[j])
            values = (ids[0], names[0], rank, ids[1], names[1], far, same)
            return dict(zip(COLUMNS, values, strict=True))

        lines = (
            line(i, rank, j, far)
            for i, (index, distance) in enumerate(
                zip(near.index.tolist(), near.distance.tolist(), strict=True)
            )
            for rank, (j, far) in enumerate(zip(index, distance, strict=True), start=1)
        )
        write_table(folder / "neighbours.csv", lines, columns=COLUMNS)


def _pictures(subject: Subject, rows: Sequence[int]) -> dict[int, np.ndarray]:
    """Read images again: kept in memory are only features."""
    views = subject.load(rows)
    return dict(zip(views.rows, map(to_uint8, subject.pixels.decode(views.image)), strict=True))


def _agreement(subject: Subject, seen: Features, near: Neighbours) -> Table:
    """Tabulate how often neighbours are of the image's class, in all and for each class."""
    same = (seen.label[near.index] == seen.label[:, None]).double()  # (N, k)
    classes = seen.label.unique()

    def row(name: str, chosen: Tensor) -> list[Any]:
        chance = (_share(seen.label, seen.label[chosen])).mean().item()
        return [name, int(chosen.sum()), same[chosen, 0].mean().item(), same[chosen].mean().item(), chance]

    rows = [row("all", torch.ones(len(seen.label), dtype=torch.bool))]
    largest = sorted(classes.tolist(), key=lambda c: -int((seen.label == c).sum()))[:20]
    rows += [row(class_name(subject.classes, c), seen.label == c) for c in largest]
    heads = ("class", "images", "nearest of same class", f"of {near.index.shape[1]} nearest", "by chance")
    more = f" The {len(largest)} largest classes of {len(classes)}." if len(classes) > len(largest) else ""
    return Table(heads, rows, f"Share of neighbours that are of the image's class.{more}")


def _share(label: Tensor, of: Tensor) -> Tensor:
    """Return the share of the other images that are of each of these classes."""
    counts = label.bincount()
    return (counts[of] - 1).double() / (len(label) - 1)
