"""Draw attention: a grid of layers and heads, an animation through the layers, distance and entropy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fovea.explain.analyses.attention.read import AttentionSample, layer_name
from fovea.files import own_folder, replacing
from fovea.page.heatmap import overlay
from fovea.page.image_grid import Row, Tile, draw_sheet
from fovea.page.label import annotate
from fovea.page.plots import HELD_OUT, SOFT, dress, new_figure, panel, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

SIDE = 96  # pixels of a map in the grid
FRAME = 256  # longer side of the animation


def shade(picture: np.ndarray, heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring a picture and a map (h, w) to one size and lay the map over the picture: uint8 (*size, 3)."""
    from PIL import Image

    shown = Image.fromarray(picture).resize(size[::-1], Image.Resampling.LANCZOS)
    values = Image.fromarray(np.ascontiguousarray(heat, dtype=np.float32))
    values = values.resize(size[::-1], Image.Resampling.BILINEAR)
    return overlay(np.asarray(shown), np.asarray(values), signed=False)[0]


def grid(sample: AttentionSample, path: Path) -> Path:
    """Draw a row per layer, its fusions and then its heads; heads that find no room go on below them."""
    height, width = sample.picture.shape[:2]
    side = SIDE / max(height, width)
    size = (max(8, round(height * side)), max(8, round(width * side)))
    rows = []
    for k, layer in enumerate(sample.layers):
        named = {**layer.fused, **{f"head {n}": one for n, one in enumerate(layer.heads, start=1)}}
        maps = [Tile(picture=shade(sample.picture, m.numpy(), size), lines=[n]) for n, m in named.items()]
        rows.append(Row(heading=f"{layer_name(k)}: {layer.grid[0]} × {layer.grid[1]}", tiles=maps))
    return draw_sheet(path, rows, title=[sample.id], signs=(), side=SIDE)


def animate(sample: AttentionSample, path: Path, *, frame_seconds: float) -> Path:
    """Write a GIF through the layers: the first fusion over the picture, the layer's number below it."""
    from PIL import Image

    height, width = sample.picture.shape[:2]
    scale = FRAME / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    name, frames = next(iter(sample.layers[0].fused)), []
    for number, layer in enumerate(sample.layers):
        lines = [f"{layer_name(number)} of {len(sample.layers)}", f"{name} of {len(layer.heads)} heads"]
        frames.append(annotate(shade(sample.picture, layer.fused[name].numpy(), size), lines))
    times = [round(1000 * frame_seconds)] * len(frames)
    times[-1] *= 3  # the last layer is what the head of the net reads
    first, *rest = [
        Image.fromarray(frame).quantize(256, method=Image.Quantize.FASTOCTREE) for frame in frames
    ]
    own_folder(path.parent)
    with replacing(path) as draft:
        first.save(draft, "gif", save_all=True, append_images=rest, duration=times, loop=0)
    return path


def by_layer(samples: Sequence[AttentionSample], path: Path) -> Path:
    """Draw distance and entropy of each head against the layer, averaged over images.

    The distance is Fig. 7 of Dosovitskiy et al. (2021), https://arxiv.org/abs/2010.11929.
    """
    figure = new_figure(width=8.6, height=3.2)
    first = samples[0].layers
    distances = [_mean([sample.layers[k].distance for sample in samples]) for k in range(len(first))]
    entropies = [_mean([sample.layers[k].entropy_share for sample in samples]) for k in range(len(first))]
    drawn = [
        ("Mean attention distance (pixels)", distances, [layer.even for layer in first]),
        ("Entropy (share of ln n)", entropies, [1.0] * len(first)),
    ]
    for k, (title, values, even) in enumerate(drawn):
        axes = panel(figure, left=0.6 + 4.3 * k, bottom=0.5, width=3.6, height=2.3)
        _dots(axes, title, values, even)
    return save(figure, path)


def _dots(axes: Axes, title: str, values: Sequence[np.ndarray], even: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    layers = range(1, len(values) + 1)
    for layer, heads in zip(layers, values, strict=True):
        axes.plot([layer] * len(heads), heads, "o", color=HELD_OUT, ms=4, alpha=0.6, mew=0)
    axes.plot(layers, [heads.mean() for heads in values], color=HELD_OUT, lw=1.2, label="mean of the heads")
    axes.plot(layers, even, color=SOFT, lw=1, ls=(0, (4, 2)), label="uniform attention")
    dress(axes, title, grid="y")
    axes.set_xlabel("layer", fontsize=8, color=SOFT)
    axes.margins(x=0.06, y=0.08)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.legend(fontsize=7, frameon=False, labelcolor=SOFT, loc="best")


def _mean(values: Sequence[Tensor]) -> np.ndarray:
    return np.mean([value.numpy() for value in values], axis=0)
