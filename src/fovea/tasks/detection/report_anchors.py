"""Hold the sizes of training boxes against the anchors of the net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fovea.page.blocks import Picture, Section, Text
from fovea.page.formats import counted
from fovea.page.plots import HELD_OUT, PALETTE, SOFT, dress, legend_beside, new_figure, panel, save
from fovea.reading import Unreadable, read_npz
from fovea.tasks.detection.trained_boxes import FILE

LEAST = 0.5  # overlap of an anchor that fits


def sections(run_dir: Path) -> list[Section]:
    """Plot boxes and anchors; empty where the net has none, or the run did not keep them."""
    path = run_dir / FILE
    if not path.is_file():
        return []
    arrays = read_npz(path, "sides", "overlap", "anchors")
    sides, overlap, anchors = (np.asarray(arrays.get(k), float) for k in ("sides", "overlap", "anchors"))
    if sides.shape != (len(overlap), 2) or anchors.ndim != 2 or not len(sides) or not len(anchors):
        raise Unreadable(f"{path} cannot be read (it does not hold boxes and anchors)")
    fit = overlap >= LEAST
    small, large = np.percentile(np.sqrt(sides.prod(axis=1)), [5, 95])
    text = (
        f"Best possible recall of the anchors at an overlap of {LEAST:g}: {100 * fit.mean():.1f} %. "
        f"So many of {counted(len(sides), 'training box')} have an anchor somewhere in the image that "
        "overlaps so much before it is shifted; the mean overlap with the best anchor is "
        f"{overlap.mean():.2f}. Nine boxes in ten are as large as squares of {small:.0f} to {large:.0f} "
        f"pixels; the anchors have {counted(len(anchors), 'size')}."
    )
    drawn = _draw(run_dir / "figures" / "anchors.png", sides, fit, anchors)
    caption = "In pixels of the net's input, both axes logarithmic; boxes as they trained, with augmentation."
    return [Section("Anchors", [Text(text), Picture(drawn, "Training boxes and anchors", caption)])]


def _draw(path: Path, sides: np.ndarray, fit: np.ndarray, anchors: np.ndarray) -> Path:
    drawing = new_figure(width=6.2, height=3.6)
    axes = panel(drawing, left=0.65, bottom=0.55, width=3.4, height=2.6)
    kinds = ((fit, HELD_OUT, "boxes that an anchor fits"), (~fit, PALETTE[4], "other boxes"))
    for chosen, colour, label in kinds:
        if chosen.any():
            options: dict[str, Any] = {"s": 5, "alpha": 0.5, "lw": 0, "color": colour, "label": label}
            axes.scatter(*sides[chosen].clip(0.5).T, **options)
    square: dict[str, Any] = {
        "s": 28,
        "marker": "s",
        "facecolors": "none",
        "edgecolors": "black",
        "label": "anchors",
    }
    axes.scatter(*anchors.clip(0.5).T, **square)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.set_xlabel("width", fontsize=8, color=SOFT)
    axes.set_ylabel("height", fontsize=8, color=SOFT)
    dress_log = axes.xaxis.get_major_locator(), axes.yaxis.get_major_locator()
    dress(axes, "Training boxes and anchors", grid="both")
    axes.xaxis.set_major_locator(dress_log[0])
    axes.yaxis.set_major_locator(dress_log[1])
    legend_beside(axes)
    return save(drawing, path)
