"""Draw images as points by their features before the last layer of a model: PCA and t-SNE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fovea.explain.analyses.base import Analysis, class_name, write_table
from fovea.explain.analyses.features import Features, collect, pca, tsne
from fovea.explain.core.model import ExplainedModel
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


class EmbeddingAnalysis(Analysis):
    """Draw features coloured by class.

    Args:
        limit: how many images; null: all.
        perplexity: of t-SNE, about how many neighbours count; lowered to a third of few images.
        seed: of t-SNE.
    """

    title = "Embedding of the features"

    def __init__(self, *, limit: int | None = 500, perplexity: float = 30.0, seed: int = 0) -> None:
        self.limit, self.perplexity, self.seed = limit, perplexity, seed

    def __call__(self, model: ExplainedModel, folder: Path) -> Sequence[Block]:
        """Write the figure (png) and `embedding.csv`, the coordinates of each image."""
        images = collect(model, self.limit)
        count, width = images.features.shape
        if count < 3:
            raise ValueError(f"{count} images span no plane: give three or more with input= and number=")
        if width < 2:
            raise ValueError(f"{type(model.net).__name__} has one feature, and one spans no plane")
        plane, share = pca(images.features, 2)
        first, second = (f"{100 * part:.0f} %" for part in share.tolist())
        clouds = [(plane.float(), f"PCA: {first} and {second} of the variance")]
        spread, about = self._tsne(images.features)
        clouds += [] if spread is None else [(spread, "t-SNE")]
        _write(model, folder, images, plane.float(), spread)
        path = _figure(folder / "embedding.png", model, images, clouds)
        caption = f"{count} images by their {width} features before the last layer. {about}"
        words = f"Coloured by the {images.source}."
        return [Text(words), Picture(path, f"features of {model.name} in the plane", caption)]

    def _tsne(self, features: Tensor) -> tuple[Tensor | None, str]:
        most = (len(features) - 1) / 3
        if most < 1:
            return None, f"t-SNE needs four images or more, these are {len(features)}."
        perplexity = min(self.perplexity, most)
        fewer = f", for {self.perplexity:g} asks for more images" if perplexity < self.perplexity else ""
        found = tsne(features, perplexity=perplexity, seed=self.seed)
        return found, f"t-SNE: perplexity {perplexity:.3g}{fewer}; distances between groups mean little."


def _write(
    model: ExplainedModel, folder: Path, images: Features, plane: Tensor, spread: Tensor | None
) -> None:
    def line(i: int) -> dict[str, Any]:
        names = [class_name(model.classes, int(x[i])) for x in (images.label, images.predicted)]
        source = "true" if images.known[i] else "predicted"
        near = (None, None) if spread is None else spread[i].tolist()
        values = (model.ids[images.rows[i]], names[0], source, names[1], *plane[i].tolist(), *near)
        return dict(zip(COLUMNS, values, strict=True))

    write_table(folder / "embedding.csv", map(line, range(len(images.rows))), columns=COLUMNS)


def _figure(
    path: Path, model: ExplainedModel, images: Features, clouds: Sequence[tuple[Tensor, str]]
) -> Path:
    order = images.label.bincount().argsort(descending=True, stable=True)
    order = order[: min(NAMED, len(images.label.unique()))]
    groups = [(images.label == c, class_name(model.classes, int(c))) for c in order.sort().values]
    other = ~torch.isin(images.label, order)
    if other.any():
        groups.append((other, "other classes"))
    columns = 5 if len(groups) > 5 else len(groups)
    legend = LINE * -(-len(groups) // columns) + 0.15
    figure = new_figure(width=WIDE, height=legend + EDGE + SIDE + 0.35)
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
