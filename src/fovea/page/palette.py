"""Draw class maps: in colours, over their image, and where they are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fovea.ops.palette import voc_palette
from fovea.page.glyphs import drawable, font
from fovea.page.label import fit, to_rgb
from fovea.types import IGNORE

TINT = 0.55  # of a class's colour, so that the image still shows
WRONG = (214, 39, 40)
SWATCH, LINE = 11, 18  # pixels


def colours(palette: Any = None) -> np.ndarray:
    """Return colours (256, 3) uint8 for the values of a mask: the data set's own, then PASCAL VOC's."""
    table = voc_palette(IGNORE + 1)
    if palette is not None:
        own = np.asarray(palette, dtype=np.uint8).reshape(-1, 3)[:IGNORE]
        table[: len(own)] = own
    return table


def has_background(classes: Sequence[str]) -> bool:
    """Tell whether class 0 is what is none of the others."""
    return bool(classes) and str(classes[0]).lower() == "background"


def stretched(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Bring a map (H, W) to the first two of `size` without mixing its values."""
    rows = np.arange(size[0]) * values.shape[0] // size[0]
    columns = np.arange(size[1]) * values.shape[1] // size[1]
    return values[rows[:, None], columns]


def overlay(image: np.ndarray, mask: np.ndarray, table: np.ndarray, *, background: bool) -> np.ndarray:
    """Tint an image uint8 (H, W, C) by its classes (H, W), with a line of the class's colour at its edge.

    A background is not tinted.
    """
    image = to_rgb(image)
    blend = np.rint(image * (1 - TINT) + table[mask] * TINT).astype(np.uint8)
    edge = np.zeros(mask.shape, dtype=bool)
    edge[1:] |= mask[1:] != mask[:-1]
    edge[:-1] |= mask[1:] != mask[:-1]
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edge[:, :-1] |= mask[:, 1:] != mask[:, :-1]
    blend[edge] = table[mask[edge]]
    if background:
        blend[mask == 0] = image[mask == 0]
    return blend


def errors(image: np.ndarray, truth: np.ndarray, preds: np.ndarray) -> np.ndarray:
    """Paint wrong pixels red on a pale grey image, and those that do not count white: uint8 (H, W, 3)."""
    grey = to_rgb(image).mean(axis=2, keepdims=True).repeat(3, axis=2)
    out = (140 + 0.45 * grey).astype(np.uint8)
    out[(preds != truth) & (truth != IGNORE)] = WRONG
    out[truth == IGNORE] = 255
    return out


def legend(present: Sequence[int], classes: Sequence[str], table: np.ndarray, *, width: int) -> np.ndarray:
    """Name the colours of these mask values, as many lines as it takes: uint8 (H, width, 3)."""
    from PIL import Image, ImageDraw

    text, places, x, y = font(12), [], 6, 4
    names = [_name(number, classes) for number in present]
    names = [fit(drawable(name), font=text, width=width - SWATCH - 24) for name in names]
    for name in names:
        room = SWATCH + 6 + round(text.getlength(name)) + 14
        if x > 6 and x + room > width:
            x, y = 6, y + LINE
        places.append((x, y))
        x += room
    canvas = Image.new("RGB", (width, y + LINE), "white")
    pen = ImageDraw.Draw(canvas)
    for number, name, (left, top) in zip(present, names, places, strict=True):
        box = (left, top + 1, left + SWATCH, top + 1 + SWATCH)
        pen.rectangle(box, fill=tuple(map(int, table[number])), outline=(150, 156, 162))
        pen.text((left + SWATCH + 6, top - 1), name, fill=(28, 30, 33), font=text)
    return np.asarray(canvas)


def _name(number: int, classes: Sequence[str]) -> str:
    if number == IGNORE:
        return "does not count"
    return str(classes[number]) if number < len(classes) else f"class {number}"
