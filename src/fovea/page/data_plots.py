"""Plot what was counted in a data set: bars per class, histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fovea.page.formats import shorten
from fovea.page.glyphs import drawable
from fovea.page.plots import HELD_OUT, INK, SOFT, new_figure, panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 30  # classes whose names fit beside bars


def class_bars(counts: Mapping[str, float], *, title: str) -> Figure:
    """Draw a bar for each class, named where there is room; many classes are sorted by size instead."""
    if len(counts) > NAMED:
        return _sorted_bars(counts, title)
    rows = len(counts)
    figure = new_figure(width=8.6, height=0.7 + 0.22 * rows)
    axes = panel(figure, left=1.9, bottom=0.32, width=6.3, height=0.22 * rows)
    places = range(rows)
    axes.barh(places, list(counts.values()), height=0.72, color=HELD_OUT)
    axes.set_yticks(places, [_name(name) for name in counts])
    axes.set_ylim(rows - 0.4, -0.6)
    for place, value in zip(places, counts.values(), strict=True):
        axes.annotate(
            f"{value:,}" if isinstance(value, int) else f"{value:.3g}", (value, place), (4, 0),
            textcoords="offset points", va="center", fontsize=7.5, color=SOFT, annotation_clip=False,
        )  # fmt: skip
    _dress(axes, title, grid="x")
    return figure


def _sorted_bars(counts: Mapping[str, float], title: str) -> Figure:
    figure = new_figure(width=8.6, height=2.5)
    axes = panel(figure, left=0.75, bottom=0.5, width=7.5, height=1.6)
    values = sorted(counts.values(), reverse=True)
    axes.bar(range(len(values)), values, width=1.0, color=HELD_OUT)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_xlabel(f"{len(values):,} classes, the largest first", fontsize=8, color=SOFT)
    _dress(axes, title, grid="y")
    return figure


def histograms(named: Sequence[tuple[str, Mapping[str, Any]]]) -> Figure:
    """Draw up to three histograms side by side: (title, {"edges", "counts"})."""
    named = named[:3]
    figure = new_figure(width=8.6, height=2.3)
    unit = (8.6 - 0.75 * len(named)) / max(len(named), 2)
    for i, (title, histogram) in enumerate(named):
        axes = panel(figure, left=0.6 + i * (unit + 0.75), bottom=0.35, width=unit, height=1.55)
        edges = histogram["edges"]
        widths = [b - a for a, b in pairwise(edges)]
        axes.bar(
            edges[:-1],
            histogram["counts"],
            width=widths,
            align="edge",
            color=HELD_OUT,
            edgecolor="white",
            lw=0.5,
        )
        if edges[-1] - edges[0] <= 1:
            axes.set_xlim(edges[0] - 2, edges[-1] + 2)  # one value: a thin bar rather than a wall
        _dress(axes, title, grid="y", whole=edges[0] % 1 == 0.5 and widths[0] % 1 == 0)
    return figure


def _dress(axes: Axes, title: str, *, grid: str, whole: bool = False) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(_name(title, width=60), loc="left", fontsize=9.5, color=INK, pad=7)
    axes.grid(axis=grid, color="#e6e8ea", lw=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    (axes.xaxis if grid == "x" else axes.yaxis).set_major_locator(MaxNLocator(5))
    if grid == "y":
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole))


def _name(text: str, *, width: int = 24) -> str:
    return drawable(shorten(str(text), width=width)).replace("$", r"\$")
