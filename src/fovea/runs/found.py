"""Show what was searched for before a training: the value given, the one used, the curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fovea.page.blocks import Block, Picture, Section, Text
from fovea.page.formats import is_number
from fovea.page.plots import HELD_OUT, SOFT, dress, new_figure, panel, save
from fovea.runs.read import Run, finite


def sentences(summary: Mapping[str, Any]) -> list[str]:
    """Say of each value that a finder chose what it replaced."""
    known = summary.get("found")
    pairs = known.items() if isinstance(known, Mapping) else ()
    return [
        f"{key}={one['used']:g} was found before training instead of {one['given']:g}"
        for key, one in pairs
        if isinstance(one, Mapping) and is_number(one.get("used")) and is_number(one.get("given"))
    ]


def sections(run: Run) -> list[Section]:
    """List the values found, with the curve of a learning-rate range test; nothing without a search."""
    lines = sentences(run.summary)
    if not lines:
        return []
    blocks: list[Block] = [Text(f"{line}.") for line in lines]
    rate = run.section("found").get("optimizer.lr") or {}
    if rate.get("curve"):
        blocks.append(_curve(run, rate))
    return [Section("Found before training", blocks)]


def _curve(run: Run, rate: Mapping[str, Any]) -> Picture:
    figure = new_figure(width=5.0, height=3.0)
    axes = panel(figure, left=0.55, bottom=0.45, width=4.2, height=2.2)
    rates, losses = rate["curve"]["lr"], finite(rate["curve"]["loss"])
    shown = min(len(rates), len(losses))
    axes.plot(rates[:shown], losses[:shown], color=HELD_OUT, lw=1.5)
    axes.axvline(rate["used"], color=SOFT, lw=0.9, ls=(0, (2, 3)))
    dress(axes, "training loss", grid="y", whole=False)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate", fontsize=8, color=SOFT)
    path = save(figure, run.dir / "figures" / "lr_search.png")
    text = f"Loss of each step while the learning rate grows; dotted: {rate['used']:g}, the steepest descent."
    return Picture(path, "Learning-rate range test", text)
