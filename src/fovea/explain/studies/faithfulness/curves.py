"""Draw how the probability falls and rises as pixels go and come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fovea.explain.studies.faithfulness.view import Score
from fovea.page.plots import INK, SOFT, new_figure, panel, save, style

WIDTH, HEIGHT, LEFT, GAP, BELOW = 3.6, 2.9, 0.55, 0.65, 0.5  # inches of a panel and around it
LEGEND, LINE = 2.2, 0.19
BLIND: dict[str, tuple[str, Any]] = {"random": ("#9aa2ab", "-"), "centre": ("#9aa2ab", (0, (4, 2)))}
PANELS = (("deletion", "pixels set to the mean colour"), ("insertion", "pixels put into the blurred image"))


def draw(ranked: Mapping[str, Score], path: Path) -> Path:
    """Write the mean curves of deletion and insertion side by side, the legend in the order of the ranks."""
    looks = {name: style(i) for i, name in enumerate(n for n, s in ranked.items() if s.looks)} | BLIND
    tall = max(HEIGHT, LINE * len(ranked))
    figure = new_figure(width=LEFT + 2 * WIDTH + GAP + LEGEND, height=BELOW + tall + 0.4)
    for i, (kind, below) in enumerate(PANELS):
        axes = panel(figure, left=LEFT + i * (WIDTH + GAP), bottom=BELOW, width=WIDTH, height=tall)
        for name, score in ranked.items():
            mean = torch.cat(score.curves[kind]).mean(0)
            color, dashes = looks[name]
            x = torch.linspace(0, 100, len(mean))
            axes.plot(x, mean, color=color, ls=dashes, lw=1.5 if score.looks else 2.2, label=name)
        axes.set_title(f"{kind}: mean probability of the class", loc="left", fontsize=9.5, color=INK, pad=7)
        axes.set_xlabel(f"% of {below}", fontsize=8, color=SOFT)
        axes.set_ylim(0, 1.02)
        axes.set_xlim(0, 100)
        axes.grid(axis="y", color="#e6e8ea", lw=0.6)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.03, 1.02), frameon=False, fontsize=8, labelcolor=INK,
        handlelength=2.2, borderaxespad=0,
    )  # fmt: skip
    return save(figure, path)
