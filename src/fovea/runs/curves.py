"""Draw the learning curves of a run: loss and monitored metric, and the learning rate where it changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fovea.page.blocks import Block, Picture, Section, Text
from fovea.page.formats import is_number, metric
from fovea.page.plots import HELD_OUT, SOFT, TRAIN, dress, new_figure, panel, save
from fovea.runs.read import Columns, Run, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STAGES = ("train", "val")
COLORS = ("#8a949e", "#0b5394", "#b3591d", "#4b7a3f", "#7a4b8c")


def sections(run: Run) -> list[Section]:
    """Draw `figures/learning_curves.png` and wrap it; say so when there is nothing to draw."""
    path = draw(run)
    if path is None:
        text = Text("No epoch was recorded, so there is no curve to draw.", "note")
        return [Section("Learning curves", [text])]
    caption = "Training and validation values at the end of each epoch, numbered from 0 as in metrics.csv."
    blocks: list[Block] = [Picture(path, "Learning curves of loss and metric", caption)]
    blocks += [Text(line, "error") for line in nonfinite(run.metrics)]
    return [Section("Learning curves", blocks)]


def draw(run: Run) -> Path | None:
    """Write the figure; None when no column has a finite value."""
    panels = choose(run.metrics, run.monitor)
    if not panels:
        return None
    rates = _learning_rates(run.metrics)
    widths = [1.0] * len(panels) + ([0.55] if rates else [])
    unit = (8.6 - 0.65 * len(widths) - 0.1) / max(sum(widths), 2.0)
    figure, left = new_figure(width=8.6, height=3.0), 0.55
    for title, names in panels:
        axes = panel(figure, left=left, bottom=0.45, width=unit, height=2.2)
        _lines(axes, run, title, names)
        left += unit + 0.65
    if rates:
        axes = panel(figure, left=left, bottom=0.45, width=0.55 * unit, height=2.2)
        _lines(axes, run, "learning rate", rates)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")  # no offset text: parsing it is slow
    return save(figure, run.dir / "figures" / "learning_curves.png")


def choose(metrics: Columns, monitor: str | None) -> list[tuple[str, list[str]]]:
    """Pick up to two panels as (title, columns): the loss, and the monitored metric or else another."""
    drawable = [name for name, values in metrics.items() if any(map(math.isfinite, finite(values)))]
    split = [(name, *name.split("/", 1)) for name in drawable if "/" in name]
    held = [(name, parts[-1]) for name, *parts in split if parts[0] in STAGES]
    loss = [name for name, base in held if base == "loss"]
    loss = loss or [name for name, base in held if base.startswith("loss")]
    wanted = (monitor or "").split("/", 1)[-1]
    others = [base for name, base in held if not base.startswith("loss")]
    if wanted not in others:
        wanted = next((base for name, base in held if base in others and name.startswith("val/")), "")
    panels = [("loss", sorted(loss)), (wanted, sorted(name for name, base in held if base == wanted))]
    return [(title, names) for title, names in panels if names]


def nonfinite(metrics: Columns) -> list[str]:
    """Describe which columns hold NaN or infinity, and since when."""
    found = []
    for name, values in metrics.items():
        at = [i for i, value in enumerate(values) if value is not None and not math.isfinite(value)]
        if at:
            epoch = int(metrics["epoch"][at[0]] or 0)
            found.append(
                f"{name} is not a finite number in {len(at)} of {len(values)} epochs, first in epoch {epoch}."
            )
    return found


def _learning_rates(metrics: Columns) -> list[str]:
    names = [name for name in metrics if name == "lr" or name.startswith(("lr-", "lr/", "lr_"))]
    known = {name: [value for value in finite(metrics[name]) if not math.isnan(value)] for name in names}
    return [name for name in names if known[name] and max(known[name]) > min(known[name])][: len(COLORS)]


def _lines(axes: Axes, run: Run, title: str, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        color, width = _style(name, i)
        values = finite(run.metrics[name])
        marker = "o" if sum(map(math.isfinite, values)) <= 30 else ""
        label = name.split("/", 1)[0] if name.endswith("/" + title) else name
        axes.plot(run.epochs, values, color=color, lw=width, marker=marker, ms=2.6, label=label)
    dress(axes, title, grid="y", whole=True)
    axes.set_xlabel("epoch", fontsize=8, color=SOFT)
    axes.xaxis.set_label_coords(0.5, -0.13)  # a place of its own saves measuring every tick label
    if len(run.epochs) == 1:
        axes.set_xlim(run.epochs[0] - 0.5, run.epochs[0] + 0.5)
    if len(names) > 1:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.0, 1.0), ncol=3, frameon=False, fontsize=8, labelcolor=SOFT,
            handlelength=1.4, columnspacing=1.2, borderaxespad=0.2,
        )  # fmt: skip
    _mark_best(axes, run, names)


def _style(name: str, index: int) -> tuple[str, float]:
    if name.startswith("train/") and index == 0:
        return TRAIN, 1.3
    return (HELD_OUT, 1.7) if name.startswith("val/") else (COLORS[(index + 1) % len(COLORS)], 1.3)


def _mark_best(axes: Axes, run: Run, names: Sequence[str]) -> None:
    best = run.best
    epoch, value = best.get("epoch"), best.get("value")
    if not is_number(epoch) or epoch not in run.epochs or "/" not in names[0]:
        return
    axes.axvline(epoch, color=SOFT, lw=0.8, ls=(0, (2, 3)), zorder=0)
    if best.get("monitor") not in names or not is_number(value) or not math.isfinite(value):
        return
    axes.plot([epoch], [value], "o", ms=6.5, mfc="none", mec=HELD_OUT, mew=1.3)
    low, high = axes.get_ylim()
    right, falling = epoch > (run.epochs[0] + run.epochs[-1]) / 2, value < (low + high) / 2
    axes.annotate(
        f"best {metric(value)}, epoch {epoch}", (epoch, 0.97 if falling else 0.03), (-5 if right else 5, 0),
        xycoords=("data", "axes fraction"), textcoords="offset points", ha="right" if right else "left",
        va="top" if falling else "bottom", fontsize=8, color=HELD_OUT,
    )  # fmt: skip
