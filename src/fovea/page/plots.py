"""Make Matplotlib figures without pyplot, whose global state and backends a training run does not need.

Also the two plots of what was counted in a data set: bars per class and histograms.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fovea.files import own_folder, replacing
from fovea.page.formats import cell, shorten
from fovea.page.label import drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
INK, SOFT, TRAIN, HELD_OUT = "#1c1e21", "#5c636b", "#8a949e", "#0b5394"
PALETTE = ("#0b5394", "#b3591d", "#3f7d3a", "#7a4b8c", "#b02a3a", "#17808a", "#8a6d00", "#c2407a")
NAMED = 30  # classes whose names fit beside bars
STYLES = ("-", (0, (4, 2)), (0, (1, 1.5)))


def new_figure(*, width: float, height: float) -> Figure:
    """Make an empty white figure; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panel(figure: Figure, *, left: float, bottom: float, width: float, height: float) -> Axes:
    """Place axes by inches from the lower left corner; much faster than a layout engine."""
    across, up = figure.get_size_inches()
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b8bec4")
    axes.tick_params(labelsize=8, labelcolor=SOFT, color="#b8bec4", length=3)
    return axes


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG; light compression, because deflate costs more than drawing does."""
    own_folder(path.parent)
    with replacing(path) as draft:
        draft.write_bytes(png(figure))
    return path


def png(figure: Figure) -> bytes:
    """Return the bytes of a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 4})
    return buffer.getvalue()


def style(index: int) -> tuple[str, Any]:
    """Return the colour and the dashes of a row, the same in every figure."""
    return PALETTE[index % len(PALETTE)], STYLES[index // len(PALETTE) % len(STYLES)]


def dress(axes: Axes, title: str, *, grid: str, whole: bool = False) -> None:
    """Style axes: title, few ticks, and faint grid lines along x, y or both (`grid`)."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(plot_text(title, width=60), loc="left", fontsize=9.5, color=INK, pad=7, y=1.0)
    axes.grid(axis=grid, color="#e6e8ea", lw=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    (axes.xaxis if grid == "x" else axes.yaxis).set_major_locator(MaxNLocator(5))
    if grid == "y":
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole))


def legend_beside(axes: Axes) -> None:
    """Name the lines to the right of the axes."""
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.03, 1.02), frameon=False, fontsize=8, labelcolor=INK,
        handlelength=2.2, borderaxespad=0,
    )  # fmt: skip


def class_bars(counts: Mapping[str, float], *, title: str) -> Figure:
    """Draw a bar for each class, named where there is room; many classes are sorted by size instead."""
    if len(counts) > NAMED:
        return _sorted_bars(counts, title)
    rows = len(counts)
    figure = new_figure(width=8.6, height=0.7 + 0.22 * rows)
    axes = panel(figure, left=1.9, bottom=0.32, width=6.3, height=0.22 * rows)
    places = range(rows)
    axes.barh(places, list(counts.values()), height=0.72, color=HELD_OUT)
    axes.set_yticks(places, [plot_text(name) for name in counts])
    axes.set_ylim(rows - 0.4, -0.6)
    for place, value in zip(places, counts.values(), strict=True):
        axes.annotate(
            cell(value) if isinstance(value, int) else f"{value:.3g}", (value, place), (4, 0),
            textcoords="offset points", va="center", fontsize=7.5, color=SOFT, annotation_clip=False,
        )  # fmt: skip
    dress(axes, title, grid="x")
    return figure


def _sorted_bars(counts: Mapping[str, float], title: str) -> Figure:
    figure = new_figure(width=8.6, height=2.5)
    axes = panel(figure, left=0.75, bottom=0.5, width=7.5, height=1.6)
    values = sorted(counts.values(), reverse=True)
    axes.bar(range(len(values)), values, width=1.0, color=HELD_OUT)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_xlabel(f"{len(values):,} classes, the largest first", fontsize=8, color=SOFT)
    dress(axes, title, grid="y")
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
        colours: dict[str, Any] = {"color": HELD_OUT, "edgecolor": "white", "lw": 0.5}
        axes.bar(edges[:-1], histogram["counts"], width=widths, align="edge", **colours)
        if edges[-1] - edges[0] <= 1:
            axes.set_xlim(edges[0] - 2, edges[-1] + 2)  # one value: a thin bar rather than a wall
        dress(axes, title, grid="y", whole=edges[0] % 1 == 0.5 and widths[0] % 1 == 0)
    return figure


def plot_text(text: str, *, width: int = 24) -> str:
    """Return text that Matplotlib draws as it is, shortened."""
    return drawable(shorten(str(text), width=width)).replace("$", r"\$")
