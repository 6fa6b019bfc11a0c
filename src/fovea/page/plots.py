"""Make Matplotlib figures without pyplot, whose global state and backends a training run does not need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
INK, SOFT, TRAIN, HELD_OUT = "#1c1e21", "#5c636b", "#8a949e", "#0b5394"
PALETTE = ("#0b5394", "#b3591d", "#3f7d3a", "#7a4b8c", "#b02a3a", "#17808a", "#8a6d00", "#c2407a")
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
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, pil_kwargs={"compress_level": 4})
    return path


def style(index: int) -> tuple[str, Any]:
    """Return the colour and the dashes of a row, the same in every figure."""
    return PALETTE[index % len(PALETTE)], STYLES[index // len(PALETTE) % len(STYLES)]
