"""The scores of each method: ranked, tabulated and drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fovea.explain.analyses.base import write_table
from fovea.metrics.significance import t_interval, wilson
from fovea.page.blocks import Table
from fovea.page.formats import MISSING
from fovea.page.plots import SOFT, dress, legend_beside, new_figure, panel, save, style

WIDTH, HEIGHT, LEFT, GAP, BELOW = 3.6, 2.9, 0.55, 0.65, 0.5  # inches of a panel and around it
LEGEND, LINE = 2.2, 0.19
BLIND: dict[str, tuple[str, Any]] = {"random": ("#9aa2ab", "-"), "centre": ("#9aa2ab", (0, (4, 2)))}
PANELS = (("deletion", "pixels set to the mean colour"), ("insertion", "pixels put into the blurred image"))
KINDS = ("insertion", "deletion", "difference")


@dataclass
class FaithfulnessScores:
    """The scores of one method, image by image.

    Attributes:
        uses_net: whether the maps depend on the net at all.
        ids: of the images.
        curves: batches of curves (B, steps + 1) of `deletion` and `insertion`.
        areas: under the curves, by image.
        hits: whether the maximum lies on the object of `box` and of `mask`; None where the image has none.
        seconds: that the maps took, of all images together.
        forward: that forward passes of the same images take.
        problem: why the method has no maps of this net.
    """

    uses_net: bool = True
    ids: list[str] = field(default_factory=list)
    curves: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    areas: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    hits: dict[str, list[bool | None]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0
    forward: float = 0.0
    problem: str | None = None

    def area(self, kind: str) -> np.ndarray:
        """Return areas (N,) under curves; `difference` is insertion less deletion."""
        if kind == "difference":
            return self.area("insertion") - self.area("deletion")
        return np.array(self.areas[kind])

    def known(self, region: str) -> list[bool]:
        """Return the hits of images that have such a region."""
        return [hit for hit in self.hits[region] if hit is not None]


def ranking(scores: Mapping[str, FaithfulnessScores]) -> dict[str, FaithfulnessScores]:
    """Order methods that have maps by insertion less deletion, the best first."""
    known = {name: s for name, s in scores.items() if s.ids and s.problem is None}
    return dict(sorted(known.items(), key=lambda item: -item[1].area("difference").mean()))


def table(ranked: Mapping[str, FaithfulnessScores]) -> Table:
    """Lay out the methods with intervals, and the regions that any image has."""
    regions = [r for r in ("box", "mask") if any(s.known(r) for s in ranked.values())]
    heads = ["method", *KINDS, *(f"maximum in {r}" for r in regions), "ms per image", "passes"]
    rows = []
    for name, score in ranked.items():
        areas = [_mean(score.area(kind)) for kind in KINDS]
        cost = [MISSING, MISSING]
        if score.uses_net:
            cost = [f"{1e3 * score.seconds / len(score.ids):.1f}", f"{score.seconds / score.forward:.1f}"]
        rows.append([name, *areas, *(_share(score.known(r)) for r in regions), *cost])
    first = next(iter(ranked.values()))
    caption = f"{len(first.ids)} images" + "".join(f", {len(first.known(r))} with a {r}" for r in regions)
    return Table(heads, rows, caption=caption, align="l" + "r" * (len(heads) - 1))


def write(ranked: Mapping[str, FaithfulnessScores], folder: Path) -> None:
    """Write the table as faithfulness.csv, and every image of every method as faithfulness_images.csv."""
    rows = [_row(name, score) for name, score in ranked.items()]
    write_table(folder / "faithfulness.csv", rows, columns=list(rows[0]))
    images = []
    for name, score in ranked.items():
        areas = {kind: score.area(kind) for kind in KINDS[:2]}
        for i, key in enumerate(score.ids):
            hits = {f"hit_{r}": "" if not score.hits[r] else score.hits[r][i] for r in ("box", "mask")}
            images.append({"method": name, "id": key, **{k: float(a[i]) for k, a in areas.items()}, **hits})
    write_table(folder / "faithfulness_images.csv", images, columns=list(images[0]))


def _row(name: str, score: FaithfulnessScores) -> dict[str, Any]:
    row: dict[str, Any] = {"method": name, "images": len(score.ids)}
    for kind in KINDS:
        low, high = t_interval(score.area(kind))
        row |= {kind: score.area(kind).mean(), f"{kind}_low": low, f"{kind}_high": high}
    for region in ("box", "mask"):
        known = score.known(region)
        row[f"{region}_images"] = len(known)
        found = (sum(known) / len(known), *wilson(sum(known), len(known))) if known else ("", "", "")
        row |= dict(zip((region, f"{region}_low", f"{region}_high"), found, strict=True))
    return row | {"s_per_image": score.seconds / len(score.ids), "passes": score.seconds / score.forward}


def _mean(values: np.ndarray) -> str:
    low, high = t_interval(values)
    return f"{values.mean():.3f}" + ("" if np.isnan(low) else f" ± {(high - low) / 2:.3f}")


def _share(hits: list[bool]) -> str:
    if not hits:
        return MISSING
    low, high = wilson(sum(hits), len(hits))
    return f"{100 * sum(hits) / len(hits):.0f} % ({100 * low:.0f}–{100 * high:.0f})"


def draw(ranked: Mapping[str, FaithfulnessScores], path: Path) -> Path:
    """Write the mean curves of deletion and insertion side by side, the legend in the order of the ranks."""
    styles = {name: style(i) for i, name in enumerate(n for n, s in ranked.items() if s.uses_net)} | BLIND
    tall = max(HEIGHT, LINE * len(ranked))
    figure = new_figure(width=LEFT + 2 * WIDTH + GAP + LEGEND, height=BELOW + tall + 0.4)
    for i, (kind, below) in enumerate(PANELS):
        axes = panel(figure, left=LEFT + i * (WIDTH + GAP), bottom=BELOW, width=WIDTH, height=tall)
        for name, score in ranked.items():
            mean = torch.cat(score.curves[kind]).mean(0)
            color, dashes = styles[name]
            x = torch.linspace(0, 100, len(mean))
            axes.plot(x, mean, color=color, ls=dashes, lw=1.5 if score.uses_net else 2.2, label=name)
        dress(axes, f"{kind}: mean probability of the class", grid="y")
        axes.set_xlabel(f"% of {below}", fontsize=8, color=SOFT)
        axes.set_ylim(0, 1.02)
        axes.set_xlim(0, 100)
    legend_beside(axes)
    return save(figure, path)
