"""Draw a comparison: curves on common axes, results against cost, the effects of settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fovea.compare.effects import Effect, effects
from fovea.compare.figures import own_figure
from fovea.compare.settings import format_setting
from fovea.compare.tables import columns
from fovea.compare.types import Comparison, ModelGroup
from fovea.page.blocks import Picture
from fovea.page.formats import short_count
from fovea.page.plots import INK, PALETTE, SOFT, STYLES, dress, new_figure, panel, plot_text, save, style
from fovea.runs.read import Run, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = len(PALETTE) * len(STYLES)  # models; more would share colour and dashes
WIDE, NARROW = 11.0, 5.3  # inches


def curves(comparison: Comparison) -> list[Picture]:
    """Draw loss and metric by epoch beside each other: thin lines are runs, a thick one is their mean."""
    from matplotlib.ticker import MaxNLocator

    runs, groups = [run for group in comparison.groups for run in group.runs], comparison.groups[:DRAWN]
    wanted = dict.fromkeys(["train/loss", "val/loss", f"val/{comparison.metric.split('/', 1)[-1]}"])
    names = [name for name in wanted if any(_logged(run, name) for run in runs)]
    if not names:
        return []
    figure, panels = _figure([group.name for group in groups], panels=len(names))
    for axes, name in zip(panels, names, strict=True):
        _label_axes(axes, name, "epoch")
        for i, group in enumerate(groups):
            _curve(axes, group, name, *style(i))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    path = save(figure, own_figure(comparison.folder, "curves.png"))
    caption = "Values at the end of each epoch, numbered from 0. Thin: single runs; thick: their mean."
    if len(comparison.groups) > DRAWN:
        caption += f" Only the first {DRAWN} models are drawn."
    return [Picture(path, "Curves of loss and metric on common axes", caption)]


def _curve(axes: Axes, group: ModelGroup, name: str, color: str, dashes: Any) -> None:
    by_epoch: dict[int, list[float]] = {}
    known = [run for run in group.runs if _logged(run, name)]
    for run in known:
        values = finite(run.metrics[name])
        if len(known) > 1:
            axes.plot(run.epochs, values, color=color, lw=0.7, alpha=0.35, ls=dashes)
        for epoch, value in zip(run.epochs, values, strict=False):
            if math.isfinite(value):
                by_epoch.setdefault(epoch, []).append(value)
    epochs = sorted(e for e, v in by_epoch.items() if len(v) == len(known)) or sorted(by_epoch)
    means = [sum(by_epoch[e]) / len(by_epoch[e]) for e in epochs]
    marker, size = "o" if len(epochs) <= 20 else "", 2.8 if len(epochs) > 1 else 6
    axes.plot(epochs, means, color=color, lw=1.7, ls=dashes, marker=marker, ms=size)


def _logged(run: Run, name: str) -> bool:
    """Whether a run has values of a column of `metrics.csv`."""
    return any(math.isfinite(value) for value in finite(run.metrics.get(name, [])))


def against_cost(comparison: Comparison) -> list[Picture]:
    """Draw the metric against latency and parameters; bars reach one standard deviation."""
    metric = comparison.metric
    known = [(i, g) for i, g in enumerate(comparison.groups[:DRAWN]) if math.isfinite(g.mean(metric))]
    numbers = {column.names[0]: column.numbers for column in columns(comparison)}
    costs = {}  # title -> position of the group -> cost
    for title, name in (("latency at batch 1, p50 in ms", "latency_p50_ms"), ("parameters", "parameters")):
        of = {i: float(numbers[name][i][0]) for i, _ in known if math.isfinite(numbers[name][i][0])}
        if len(set(of.values())) > 1:
            costs[title] = of
    if not costs:
        return []
    names = [group.name for group in comparison.groups[:DRAWN]]
    figure, panels = _figure(names, panels=len(costs), width=WIDE if len(costs) > 1 else NARROW)
    for axes, (title, of) in zip(panels, costs.items(), strict=True):
        _label_axes(axes, metric, title)
        for i, group in known:
            if i in of:
                std = group.std(metric)
                axes.errorbar(
                    of[i], group.mean(metric), yerr=None if math.isnan(std) else std, color=style(i)[0],
                    marker="os^"[i // len(PALETTE) % 3], ms=6.5, capsize=3, lw=1.2,
                )  # fmt: skip
        _scale(axes, list(of.values()))
    path = save(figure, own_figure(comparison.folder, "cost.png"))
    caption = f"{metric} against cost. Bars reach one standard deviation over the runs."
    return [Picture(path, f"{metric} against {' and '.join(costs)}", caption)]


def effect_plots(comparison: Comparison) -> list[Picture]:
    """Draw the metric against every setting that was varied."""
    pictures = []
    for one in effects([run for group in comparison.groups for run in group.runs], comparison.metric):
        safe = "".join(c if c.isalnum() else "_" for c in one.key)
        path = effect_plot(one, comparison.metric, own_figure(comparison.folder, f"effect_{safe}.png"))
        caption = "Dots: runs; lines: means of runs that differ in nothing else but the seed."
        if not one.pure:
            caption = "Dots: runs. Other settings vary as well, so this shows no effect by itself."
        pictures.append(Picture(path, f"{comparison.metric} against {one.key}", caption))
    return pictures


def effect_plot(effect: Effect, metric: str, path: Path) -> Path:
    """Draw a point for every run and a line through the means."""
    lines = effect.lines[:DRAWN]
    figure, (axes,) = _figure([title for title, _ in lines if title], panels=1, width=NARROW)
    _label_axes(axes, metric, effect.key)
    positions = {format_setting(value): i for i, value in enumerate(effect.values)}
    for i, (_, points) in enumerate(lines):
        color, dashes = style(i)
        at = [(value if effect.numeric else positions[format_setting(value)], y) for value, y in points]
        axes.plot(*zip(*at, strict=True), "o", color=color, ms=4, alpha=0.55, mew=0)
        if effect.pure:
            means = {x: [s for v, s in at if v == x] for x in sorted({x for x, _ in at})}
            axes.plot(list(means), [sum(s) / len(s) for s in means.values()], color=color, lw=1.5, ls=dashes)
    if effect.logarithmic:
        least = min(value for value in effect.values if value)
        axes.set_xscale("symlog", linthresh=least) if 0 in effect.values else axes.set_xscale("log")
        axes.tick_params(which="minor", labelsize=7, labelcolor=SOFT, color="#b8bec4", length=2)
    if not effect.numeric:
        axes.set_xticks(range(len(positions)), [plot_text(name, width=16) for name in positions])
        axes.set_xlim(-0.5, len(positions) - 0.5)
    return save(figure, path)


def _figure(names: Sequence[str], *, panels: int, width: float = WIDE) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels side by side above a legend of `names`, whose styles come by position."""
    longest = max((min(len(name), 44) for name in names), default=1)
    across = max(1, min(6, int(12 * width / (longest + 9))))  # entries of a line of the legend
    below = 0.12 + 0.19 * math.ceil(len(names) / across) if names else 0.0
    figure = new_figure(width=width, height=3.1 + below)
    if names:
        from matplotlib.lines import Line2D

        figure.legend(
            [Line2D([], [], color=style(i)[0], ls=style(i)[1], lw=2) for i in range(len(names))],
            [plot_text(name, width=44) for name in names],
            loc="lower left", ncol=across, frameon=False, fontsize=8, labelcolor=INK,
            handlelength=2.2, columnspacing=1.6, borderaxespad=0.1,
            bbox_to_anchor=(0.5 / width, 0.0),
        )  # fmt: skip
    gap = 0.65  # inches beside each panel, for its axis
    each = (width - 0.1) / panels - gap
    lefts = [0.6 + i * (each + gap) for i in range(panels)]
    return figure, [panel(figure, left=x, bottom=below + 0.45, width=each, height=2.3) for x in lefts]


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


def _some(value: float, position: Any) -> str:
    """Label 2, 3 and 5 of a decade: more of them run into each other."""
    return _plain(value, position) if f"{value:e}"[0] in "235" else ""


def _label_axes(axes: Axes, title: str, below: str) -> None:
    dress(axes, title, grid="y")
    axes.set_xlabel(plot_text(below, width=60), fontsize=8, color=SOFT)
