"""Put the figures of a comparison on its page: curves, results against cost, effects of settings."""

from __future__ import annotations

import math

from fovea.compare import plots
from fovea.compare.effects import effects
from fovea.compare.grouping import Row
from fovea.compare.types import Comparison, parameters
from fovea.page.blocks import Beside, Block, Picture, Section


def curves(found: Comparison) -> list[Section]:
    """Draw loss and metric on common axes."""
    base = found.metric.split("/", 1)[-1]
    names = list(dict.fromkeys(["train/loss", "val/loss", f"val/{base}"]))
    path = plots.curves(found.rows, names, found.folder / "figures" / "curves.png")
    if path is None:
        return []
    caption = "Values at the end of each epoch, numbered from 0. Thin: single runs; thick: their mean."
    if len(found.rows) > plots.DRAWN:
        caption += f" Only the first {plots.DRAWN} rows are drawn."
    return [Section("Curves", [Picture(path, "Curves of loss and metric on common axes", caption)])]


def against_cost(found: Comparison) -> list[Block]:
    """Draw the metric against latency and parameters."""

    def latency(row: Row) -> float:
        return float(row.cost.get("latency_p50_ms", math.nan))

    costs = [("latency at batch 1, p50 in ms", latency), ("parameters", parameters)]
    path = plots.scatter(found.rows, found.metric, costs, found.folder / "figures" / "cost.png")
    caption = f"{found.metric} against cost. Bars reach one standard deviation over the runs."
    return [Picture(path, f"{found.metric} against latency and parameters", caption)] if path else []


def effect_plots(found: Comparison) -> list[Section]:
    """Draw the metric against every setting that was varied."""
    runs = [run for row in found.rows for run in row.runs]
    blocks: list[Block] = []
    for one in effects(runs, found.metric):
        safe = "".join(c if c.isalnum() else "_" for c in one.key)
        path = plots.effect_plot(one, found.metric, found.folder / "figures" / f"effect_{safe}.png")
        caption = "Dots: runs; lines: means of runs that differ in nothing else but the seed."
        if not one.pure:
            caption = "Dots: runs. Other settings vary as well, so this shows no effect by itself."
        blocks.append(Picture(path, f"{found.metric} against {one.key}", caption))
    return [Section("Effects of settings", [Beside(blocks)])] if blocks else []
