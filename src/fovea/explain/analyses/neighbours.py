"""Show the nearest neighbours of images in the feature space of a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fovea.explain.analyses.base import Analysis, class_name, write_table
from fovea.explain.analyses.features import Features, Metric, Neighbours, collect, neighbours
from fovea.explain.core.model import ExplainedModel
from fovea.explain.core.pixels import to_uint8
from fovea.page.blocks import Block, Picture, Table, Text
from fovea.page.formats import counted
from fovea.page.image_grid import Tile, grid

COLUMNS = ("image", "class", "rank", "neighbour", "neighbour_class", "distance", "same_class")


class NeighbourAnalysis(Analysis):
    """Draw the first images with their nearest among all, and say how often these are of the same class.

    Args:
        queries: how many images are shown with their neighbours.
        k: how many neighbours of each.
        metric: `cosine`, `euclidean` or another of scikit-learn, or a function of two vectors of features.
        limit: how many images are searched; null: all.
    """

    title = "Nearest neighbours"

    def __init__(
        self, *, queries: int = 6, k: int = 6, metric: Metric = "cosine", limit: int | None = None
    ) -> None:
        if min(queries, k) < 1:
            raise ValueError(f"queries={queries} and k={k} must be 1 or more")
        self.queries, self.k, self.metric, self.limit = queries, k, metric, limit

    def __call__(self, model: ExplainedModel, folder: Path) -> Sequence[Block]:
        """Write the sheet (png) and `neighbours.csv`, with the neighbours of every image."""
        images = collect(model, self.limit)
        if len(images.rows) < 2:
            raise ValueError("one image has no neighbours: give two or more with input= and number=")
        k = min(self.k, len(images.rows) - 1)
        near = neighbours(images.features, k=k, metric=self.metric)
        self._table(model, folder, images, near)
        path = self._sheet(model, folder, images, near)
        caption = (
            f"Left: the image; then its nearest neighbours among {len(images.rows)}, with class and distance."
        )
        fewer = f" There are only {counted(k, 'other image')}." if k < self.k else ""
        return [
            Text(f"Classes are {images.source}.{fewer}"),
            _agreement(model, images, near),
            Picture(path, f"nearest neighbours in the features of {model.name}", caption),
        ]

    def _sheet(self, model: ExplainedModel, folder: Path, images: Features, near: Neighbours) -> Path:
        rows = []
        for query in range(min(self.queries, len(images.rows))):
            index = [query, *near.index[query].tolist()]
            pictures = _pictures(model, [images.rows[i] for i in index])
            lines = [["image"], *([f"{far:.3g}"] for far in near.distance[query].tolist())]
            rows.append(
                [
                    Tile(
                        picture=pictures[images.rows[i]],
                        lines=[class_name(model.classes, int(images.label[i])), *words],
                        ok=None if i == query else bool(images.label[i] == images.label[query]),
                    )
                    for i, words in zip(index, lines, strict=True)
                ]
            )
        titles = [str(model.ids[images.rows[query]]) for query in range(len(rows))]
        return grid(folder / "neighbours.png", rows, titles=titles)

    def _table(self, model: ExplainedModel, folder: Path, images: Features, near: Neighbours) -> None:
        def line(i: int, rank: int, j: int, far: float) -> dict[str, Any]:
            names = [class_name(model.classes, int(images.label[n])) for n in (i, j)]
            ids = [model.ids[images.rows[n]] for n in (i, j)]
            same = int(images.label[i] == images.label[j])
            values = (ids[0], names[0], rank, ids[1], names[1], far, same)
            return dict(zip(COLUMNS, values, strict=True))

        lines = (
            line(i, rank, j, far)
            for i, found in enumerate(zip(near.index.tolist(), near.distance.tolist(), strict=True))
            for rank, (j, far) in enumerate(zip(*found, strict=True), start=1)
        )
        write_table(folder / "neighbours.csv", lines, columns=COLUMNS)


def _pictures(model: ExplainedModel, rows: Sequence[int]) -> dict[int, np.ndarray]:
    """Read images again: kept in memory are only features."""
    batch = model.load(rows)
    return dict(zip(batch.rows, map(to_uint8, model.pixels.decode(batch.image)), strict=True))


def _agreement(model: ExplainedModel, images: Features, near: Neighbours) -> Table:
    """Tabulate how often neighbours are of the image's class, in all and for each class."""
    same = (images.label[near.index] == images.label[:, None]).double()  # (N, k)
    classes = images.label.unique()

    def row(name: str, chosen: Tensor) -> list[Any]:
        chance = (_share(images.label, images.label[chosen])).mean().item()
        return [name, int(chosen.sum()), same[chosen, 0].mean().item(), same[chosen].mean().item(), chance]

    rows = [row("all", torch.ones(len(images.label), dtype=torch.bool))]
    largest = sorted(classes.tolist(), key=lambda c: -int((images.label == c).sum()))[:20]
    rows += [row(class_name(model.classes, c), images.label == c) for c in largest]
    heads = ("class", "images", "nearest of same class", f"of {near.index.shape[1]} nearest", "by chance")
    more = f" The {len(largest)} largest classes of {len(classes)}." if len(classes) > len(largest) else ""
    return Table(heads, rows, f"Share of neighbours that are of the image's class.{more}")


def _share(label: Tensor, of: Tensor) -> Tensor:
    """Return the share of the other images that are of each of these classes."""
    counts = label.bincount()
    return (counts[of] - 1).double() / (len(label) - 1)
