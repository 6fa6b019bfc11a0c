"""Draw how maps change while a net loses its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fovea.page.formats import shorten
from fovea.page.label import drawable
from fovea.page.plots import INK, SOFT, new_figure, panel, save, style

if TYPE_CHECKING:
    from torch import Tensor

TILE, GAP, NAMES, HEAD = 0.95, 0.06, 1.4, 0.25  # inches
LEGEND, LINE = 2.0, 0.19


def curves(lines: Mapping[str, Sequence[float]], layers: Sequence[str], path: Path) -> Path:
    """Write one line for each method: the mean correlation by layer, from 1 of the trained net."""
    tall = max(2.6, LINE * len(lines))
    figure = new_figure(width=6.2 + LEGEND, height=tall + 1.1)
    axes = panel(figure, left=0.55, bottom=0.75, width=5.4, height=tall)
    for i, (name, values) in enumerate(lines.items()):
        color, dashes = style(i)
        axes.plot(range(len(layers) + 1), [1.0, *values], color=color, ls=dashes, lw=1.6, label=name)
    axes.axhline(0, color="#b8bec4", lw=0.8)
    names = ["trained", *(_name(layer) for layer in layers)]
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    axes.set_title("rank correlation with the maps of the trained net", loc="left", fontsize=9.5, color=INK)
    axes.set_xlabel("drawn anew from the top down to", fontsize=8, color=SOFT)
    axes.grid(axis="y", color="#e6e8ea", lw=0.6)
    axes.set_ylim(min(-0.25, axes.get_ylim()[0]), 1.05)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1.02), frameon=False, fontsize=8, labelcolor=INK,
        handlelength=2.2, borderaxespad=0,
    )  # fmt: skip
    return save(figure, path)


def examples(
    picture: Tensor, maps: Mapping[str, Sequence[Tensor]], layers: Sequence[str], path: Path
) -> Path:
    """Write the maps of one picture (C, H, W), a row for each method, each map on a scale of its own."""
    tall = TILE * picture.shape[1] / picture.shape[2]
    columns, step = len(layers) + 2, tall + GAP
    figure = new_figure(width=NAMES + columns * (TILE + GAP), height=HEAD + step * len(maps))
    heads = ["image", "trained", *(_name(layer) for layer in layers)]
    for row, (name, shown) in enumerate(maps.items()):
        bottom = step * (len(maps) - 1 - row)
        for column in range(columns):
            axes = panel(figure, left=NAMES + column * (TILE + GAP), bottom=bottom, width=TILE, height=tall)
            axes.set_axis_off()
            if column:
                top = max(float(shown[column - 1].quantile(0.995)), 1e-30)
                axes.imshow(shown[column - 1], cmap="inferno", vmin=0, vmax=top)
            else:
                axes.imshow(picture.mean(0) if len(picture) != 3 else picture.permute(1, 2, 0), cmap="gray")
            if not row:
                axes.set_title(heads[column], fontsize=7, color=SOFT, pad=4)
        at = (bottom + tall / 2) / float(figure.get_size_inches()[1])
        figure.text(0.05 / float(figure.get_size_inches()[0]), at, name, fontsize=8, color=INK, va="center")
    return save(figure, path)


def _name(layer: str) -> str:
    return drawable(shorten(layer, width=18))
