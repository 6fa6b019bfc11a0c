"""Draw a comparison: curves on common axes, results against cost, the effects of settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fovea.compare.effects import Effect
from fovea.compare.grouping import Row
from fovea.compare.settings import shown
from fovea.page.formats import short_count, shorten
from fovea.page.label import drawable
from fovea.page.plots import INK, PALETTE, SOFT, STYLES, new_figure, panel, save, style
from fovea.runs.read import finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = len(PALETTE) * len(STYLES)  # rows; beyond it lines cannot be told apart
WIDTH = 11.0


def curves(rows: Sequence[Row], names: Sequence[str], path: Path) -> Path | None:
    """Draw columns of `metrics.csv` beside each other: thin lines are runs, a thick one is their mean."""
    names = [n for n in names if any(_finite(run.metrics.get(n, [])) for row in rows for run in row.runs)]
    if not names:
        return None
    figure, unit = _figure(rows[:DRAWN], height=3.1, panels=len(names))
    for i, name in enumerate(names):
        axes = panel(figure, left=0.6 + i * (unit + 0.65), bottom=_below(rows) + 0.45, width=unit, height=2.3)
        for j, row in enumerate(rows[:DRAWN]):
            _curve(axes, row, name, *style(j))
        _dress(axes, name, "epoch")
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return save(figure, path)


def _curve(axes: Axes, row: Row, name: str, color: str, dashes: Any) -> None:
    by_epoch: dict[int, list[float]] = {}
    known = [run for run in row.runs if _finite(run.metrics.get(name, []))]
    for run in known:
        values = finite(run.metrics[name])
        if len(known) > 1:
            axes.plot(run.epochs, values, color=color, lw=0.7, alpha=0.35, ls=dashes)
        for epoch, value in zip(run.epochs, values, strict=False):
            if math.isfinite(value):
                by_epoch.setdefault(epoch, []).append(value)
    epochs = sorted(e for e, v in by_epoch.items() if len(v) == len(known)) or sorted(by_epoch)
    means = [sum(by_epoch[e]) / len(by_epoch[e]) for e in epochs]
    axes.plot(
        epochs,
        means,
        color=color,
        lw=1.7,
        ls=dashes,
        marker="o" if len(epochs) <= 20 else "",
        ms=2.8 if len(epochs) > 1 else 6,
    )


def scatter(
    rows: Sequence[Row], metric: str, costs: Sequence[tuple[str, Callable[[Row], float]]], path: Path
) -> Path | None:
    """Draw a metric against each cost (title, function of a row); bars reach one standard deviation."""
    with_metric = [row for row in rows if _has(row, metric)]
    costs = [c for c in costs if len({c[1](row) for row in with_metric if math.isfinite(c[1](row))}) > 1]
    if not costs:
        return None
    figure, unit = _figure(rows[:DRAWN], height=3.1, panels=max(2, len(costs)))
    for i, (title, of) in enumerate(costs):
        axes = panel(figure, left=0.6 + i * (unit + 0.65), bottom=_below(rows) + 0.45, width=unit, height=2.3)
        known = [
            (j, row) for j, row in enumerate(rows[:DRAWN]) if math.isfinite(of(row)) and _has(row, metric)
        ]
        for j, row in known:
            std = row.std(metric)
            axes.errorbar(
                of(row), row.mean(metric), yerr=None if math.isnan(std) else std, color=style(j)[0],
                marker="os^"[j // len(PALETTE) % 3], ms=6.5, capsize=3, lw=1.2,
            )  # fmt: skip
        _scale(axes, [of(row) for _, row in known])
        _dress(axes, metric, title)
    return save(figure, path)


def effect_plot(effect: Effect, metric: str, path: Path) -> Path:
    """Draw a point for every run and a line through the means."""
    lines = effect.lines[:DRAWN]
    titles = [title for title, _ in lines if title]
    below = _legend_height(titles, 5.3)
    figure = new_figure(width=5.3, height=3.1 + below)
    axes = panel(figure, left=0.6, bottom=below + 0.45, width=4.5, height=2.3)
    places = {shown(value): i for i, value in enumerate(effect.values)}
    for i, (_, points) in enumerate(lines):
        color, dashes = style(i)
        at = [(value if effect.numeric else places[shown(value)], score) for value, score in points]
        axes.plot(*zip(*at, strict=True), "o", color=color, ms=4, alpha=0.55, mew=0)
        if effect.pure:
            means = {x: [s for v, s in at if v == x] for x in sorted({x for x, _ in at})}
            axes.plot(list(means), [sum(s) / len(s) for s in means.values()], color=color, lw=1.5, ls=dashes)
    if effect.logarithmic:
        least = min(value for value in effect.values if value)
        axes.set_xscale("symlog", linthresh=least) if 0 in effect.values else axes.set_xscale("log")
        axes.tick_params(which="minor", labelsize=7, labelcolor=SOFT, color="#b8bec4", length=2)
    if not effect.numeric:
        axes.set_xticks(range(len(places)), [_label(name, 16) for name in places])
        axes.set_xlim(-0.5, len(places) - 0.5)
    _dress(axes, metric, effect.key)
    _legend(figure, titles)
    return save(figure, path)


def _figure(rows: Sequence[Row], *, height: float, panels: int) -> tuple[Figure, float]:
    figure = new_figure(width=WIDTH, height=height + _below(rows))
    _legend(figure, [row.name for row in rows])
    return figure, (WIDTH - 0.65 * panels - 0.1) / panels


def _below(rows: Sequence[Row]) -> float:
    return _legend_height([row.name for row in rows[:DRAWN]], WIDTH)


def _across(names: Sequence[str], width: float) -> int:
    longest = max((min(len(name), 44) for name in names), default=1)
    return max(1, min(6, int(12 * width / (longest + 9))))


def _legend_height(names: Sequence[str], width: float) -> float:
    return 0.12 + 0.19 * math.ceil(len(names) / _across(names, width)) if names else 0.0


def _legend(figure: Figure, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    if not names:
        return
    width = float(figure.get_size_inches()[0])
    marks = [Line2D([], [], color=style(i)[0], ls=style(i)[1], lw=2) for i in range(len(names))]
    figure.legend(
        marks, [_label(name, 44) for name in names], loc="lower left", ncol=_across(names, width),
        frameon=False, fontsize=8, labelcolor=INK, handlelength=2.2, columnspacing=1.6, borderaxespad=0.1,
        bbox_to_anchor=(0.5 / width, 0.0),
    )  # fmt: skip


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Take a logarithmic axis where costs differ by factors, and leave room beside a single one."""
    if min(values) > 0 and max(values) >= 4 * min(values):
        axes.set_xscale("log")
        axes.tick_params(which="minor", labelsize=7, labelcolor=SOFT, color="#b8bec4", length=2)
        axes.xaxis.set_major_formatter(_plain)
        axes.xaxis.set_minor_formatter(_some if max(values) < 30 * min(values) else lambda value, _: "")
    axes.margins(x=0.12, y=0.15)


def _plain(value: float, _: Any) -> str:
    return f"{value:g}" if value < 1e4 else short_count(value)


def _some(value: float, place: Any) -> str:
    """Label 2, 3 and 5 of a decade: more of them run into each other."""
    return _plain(value, place) if f"{value:e}"[0] in "235" else ""


def _dress(axes: Axes, title: str, below: str) -> None:
    axes.set_title(_label(title, 60), loc="left", fontsize=9.5, color=INK, pad=7)
    axes.set_xlabel(_label(below, 60), fontsize=8, color=SOFT)
    axes.grid(axis="y", color="#e6e8ea", lw=0.6)
    axes.set_axisbelow(True)


def _label(text: str, width: int) -> str:
    return drawable(shorten(text, width=width)).replace("$", r"\$")


def _has(row: Row, metric: str) -> bool:
    return math.isfinite(row.mean(metric))


def _finite(values: Sequence[float | None]) -> bool:
    return any(value is not None and math.isfinite(value) for value in values)
