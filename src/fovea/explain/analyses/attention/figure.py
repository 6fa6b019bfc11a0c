"""Draw attention: a grid of layers and heads, an animation through the layers, distance and entropy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fovea.explain.analyses.attention.read import AttentionLayer, AttentionSample, layer_name
from fovea.page.heatmap import overlay
from fovea.page.label import annotate, drawable, fit, font
from fovea.page.plots import HELD_OUT, INK, SOFT, new_figure, panel, save

if TYPE_CHECKING:
    import PIL.Image
    from matplotlib.axes import Axes
    from PIL.ImageDraw import ImageDraw
    from torch import Tensor

WIDTH, GAP, LEFT, TOP = 1600, 3, 64, 26  # of the grid, in pixels
SMALLEST, LARGEST = 48, 150  # side of its cells
ACROSS = 12  # heads beside each other
FRAME = 256  # longer side of the animation


def shade(picture: np.ndarray, heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring a picture and a map (h, w) to one size and lay the map over the picture: uint8 (*size, 3)."""
    from PIL import Image

    shown = Image.fromarray(picture).resize(size[::-1], Image.Resampling.LANCZOS)
    values = Image.fromarray(np.ascontiguousarray(heat, dtype=np.float32))
    values = values.resize(size[::-1], Image.Resampling.BILINEAR)
    return overlay(np.asarray(shown), np.asarray(values), signed=False)[0]


def grid(sample: AttentionSample, path: Path) -> Path:
    """Draw a row per layer and a column per fusion, then per head; write a PNG of few colours.

    Heads beyond ACROSS go on in a further line of their layer.
    """
    from PIL import Image, ImageDraw

    names = list(sample.layers[0].fused)
    heads = min(ACROSS, max(len(layer.heads) for layer in sample.layers))
    cell = _cell(sample.picture, len(names) + heads)
    places = [LEFT + k * (cell[1] + GAP) for k in range(len(names))]
    start = LEFT + len(names) * (cell[1] + GAP) + 2 * GAP  # heads stand a little apart from fusions
    places += [start + k * (cell[1] + GAP) for k in range(heads)]
    lines = [line for number, layer in enumerate(sample.layers) for line in _lines(number, layer)]
    page = Image.new("RGB", (places[-1] + cell[1] + GAP, TOP + len(lines) * (cell[0] + GAP)), "white")
    pen = ImageDraw.Draw(page)
    for place, text in zip(places, [*names, *(f"head {k + 1}" for k in range(heads))], strict=True):
        _centred(pen, (place, 4), _short(text, cell[1]), cell[1])
    for k, (label, below, column, maps) in enumerate(lines):
        top = TOP + k * (cell[0] + GAP)
        _label(pen, label, below, top, cell[0])
        for place, heat in zip(places[column:], maps, strict=False):
            page.paste(Image.fromarray(shade(sample.picture, heat.numpy(), cell)), (place, top))
    path.parent.mkdir(parents=True, exist_ok=True)
    _few_colours(page).save(path)
    return path


def _lines(number: int, layer: AttentionLayer) -> Iterator[tuple[str, str, int, list[Tensor]]]:
    """Yield the lines of each layer: label, text below it, first column, maps."""
    maps, heads = list(layer.fused.values()), layer.heads
    yield str(number + 1), f"{layer.grid[0]} × {layer.grid[1]}", 0, [*maps, *heads[:ACROSS]]
    for first in range(ACROSS, len(heads), ACROSS):
        last = min(first + ACROSS, len(heads))
        yield "", f"h. {first + 1}–{last}", len(maps), list(heads[first:last])


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
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, save_all=True, append_images=rest, duration=times, loop=0)
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
    axes.plot(layers, even, color=SOFT, lw=1, ls=(0, (4, 2)), label="looking evenly")
    axes.set_title(title, loc="left", fontsize=9.5, color=INK, pad=7)
    axes.set_xlabel("layer", fontsize=8, color=SOFT)
    axes.margins(x=0.06, y=0.08)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.grid(axis="y", color="#e6e8ea", lw=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize=7, frameon=False, labelcolor=SOFT, loc="best")


def _mean(values: Sequence[Tensor]) -> np.ndarray:
    return np.mean([value.numpy() for value in values], axis=0)


def _few_colours(image: PIL.Image.Image) -> PIL.Image.Image:
    """Bring an image to 256 colours, which makes its file a third as large."""
    from PIL import Image

    return image.quantize(256, method=Image.Quantize.FASTOCTREE)


def _cell(picture: np.ndarray, columns: int) -> tuple[int, int]:
    """Return height and width of a cell, its longer side as large as the width of the page allows."""
    side = min(max((WIDTH - LEFT) // columns - GAP, SMALLEST), LARGEST)
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    return max(8, round(height * scale)), max(8, round(width * scale))


def _label(pen: ImageDraw, label: str, below: str, top: int, height: int) -> None:
    """Write the layer's number and, where there is room, its grid."""
    middle = top + height // 2
    pen.text((4, middle - 15), label, fill=(28, 30, 33), font=font(15))
    if height >= 34:
        pen.text((4, middle + 3), below, fill=(92, 99, 107), font=font(10))


def _short(text: str, width: int) -> str:
    return drawable(fit(text.removeprefix("head ") if width < 60 else text, font=font(12), width=width))


def _centred(pen: ImageDraw, corner: tuple[int, int], text: str, width: int) -> None:
    x = corner[0] + (width - font(12).getlength(text)) / 2
    pen.text((x, corner[1]), text, fill=(28, 30, 33), font=font(12))
