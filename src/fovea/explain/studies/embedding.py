"""Draw images as points where the head of a model sees them: PCA and t-SNE of its features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fovea.explain.core.model import Subject
from fovea.explain.studies.base import Study
from fovea.explain.studies.features import PCA, pca, tsne
from fovea.explain.studies.names import class_name, write_table
from fovea.explain.studies.seen import Features, collect
from fovea.page.blocks import Block, Picture, Text
from fovea.page.formats import shorten
from fovea.page.label import drawable
from fovea.page.plots import INK, SOFT, new_figure, panel, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("image", "class", "class_is", "predicted", "pca_1", "pca_2", "tsne_1", "tsne_2")
NAMED = 100  # classes; rarer ones share a grey dot
MARKERS = "os^Dv<>ph*"
WIDE, SIDE, EDGE = 8.4, 3.7, 0.35  # inches
LINE = 0.145


class EmbeddingStudy(Study):
    """Draw features coloured by class.

    Args:
        limit: how many images; null: all.
        perplexity: of t-SNE, about how many neighbours count; lowered to a third of few images.
        seed: of t-SNE.
    """

    title = "Features in the plane"

    def __init__(self, *, limit: int | None = 500, perplexity: float = 30.0, seed: int = 0) -> None:
        self.limit, self.perplexity, self.seed = limit, perplexity, seed

    def __call__(self, subject: Subject, folder: Path) -> Sequence[Block]:
        """Write the figure (png) and `embedding.csv`, the coordinates of each image."""
        seen = collect(subject, self.limit)
        count, width = seen.features.shape
        if count < 3:
            raise ValueError(f"{count} images span no plane: give three or more with input= and number=")
        if width < 2:
            raise ValueError(f"{type(subject.net).__name__} has one feature, and one spans no plane")
        axes = pca(seen.features, 2)
        plane = axes.project(seen.features).float()
        spread, said = self._tsne(seen.features)
        _write(subject, folder, seen, plane, spread)
        path = _figure(folder / "embedding.png", subject, seen, axes, plane, spread)
        caption = f"{count} images by their {width} features before the last layer. {said}"
        words = f"Coloured by the {seen.source}."
        return [Text(words), Picture(path, f"features of {subject.name} in the plane", caption)]

    def _tsne(self, features: Tensor) -> tuple[Tensor | None, str]:
        most = (len(features) - 1) / 3
        if most < 1:
            return None, f"t-SNE needs four images or more, these are {len(features)}."
        perplexity = min(self.perplexity, most)
        fewer = f", for {self.perplexity:g} asks for more images" if perplexity < self.perplexity else ""
        found = tsne(features, perplexity=perplexity, seed=self.seed)
        return found, f"t-SNE: perplexity {perplexity:.3g}{fewer}; distances between groups mean little."


def _write(subject: Subject, folder: Path, seen: Features, plane: Tensor, spread: Tensor | None) -> None:
    def line(i: int) -> dict[str, Any]:
        names = [class_name(subject.classes, int(x[i])) for x in (seen.label, seen.predicted)]
        source = "true" if seen.known[i] else "predicted"
        far = (None, None) if spread is None else spread[i].tolist()
        values = (subject.ids[seen.rows[i]], names[0], source, names[1], *plane[i].tolist(), *far)
        return dict(zip(COLUMNS, values, strict=True))

    write_table(folder / "embedding.csv", map(line, range(len(seen.rows))), columns=COLUMNS)


def _figure(
    path: Path, subject: Subject, seen: Features, axes: PCA, plane: Tensor, spread: Tensor | None
) -> Path:
    order = seen.label.bincount().argsort(descending=True, stable=True)
    order = order[: min(NAMED, len(seen.label.unique()))]
    groups = [(seen.label == c, class_name(subject.classes, int(c))) for c in order.sort().values]
    other = ~torch.isin(seen.label, order)
    if other.any():
        groups.append((other, "other classes"))
    columns = 5 if len(groups) > 5 else len(groups)
    legend = LINE * -(-len(groups) // columns) + 0.15
    figure = new_figure(width=WIDE, height=legend + EDGE + SIDE + 0.35)
    share = [f"{100 * s:.0f} %" for s in axes.share.tolist()]
    clouds = [(plane, f"PCA: {share[0]} and {share[1]} of the variance")]
    clouds += [] if spread is None else [(spread, "t-SNE")]
    for i, (points, title) in enumerate(clouds):
        left = EDGE + i * (SIDE + 0.6)
        drawn = panel(figure, left=left, bottom=legend + EDGE, width=SIDE, height=SIDE)
        drawn.set_title(title, fontsize=9, color=INK, loc="left")
        handles = _scatter(drawn, points, groups)
    figure.legend(
        handles, [drawable(shorten(name, width=24)) for _, name in groups], loc="lower left", ncols=columns,
        fontsize=7.5, frameon=False, bbox_to_anchor=(0.03, 0.0), handletextpad=0.1, columnspacing=0.8,
        labelcolor=INK, borderpad=0.2, labelspacing=0.35,
    )  # fmt: skip
    return save(figure, path)


def _scatter(axes: Axes, points: Tensor, groups: Sequence[tuple[Tensor, str]]) -> list[Any]:
    """Draw each class with its own colour, or of many its own pair of colour and marker."""
    from matplotlib import colormaps

    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    size = 16 if len(points) <= 1000 else 5
    handles = []
    for i, (chosen, _) in enumerate(groups):
        x, y = points[chosen].T.tolist()
        named = i < NAMED
        colour, marker = (colours[i % 10], MARKERS[i // 10]) if named else (SOFT, ".")
        handles.append(
            axes.scatter(x, y, s=size, color=[colour], marker=marker, alpha=0.75, linewidths=0, clip_on=False)
        )
    axes.set_xticks([])
    axes.set_yticks([])
    return handles
