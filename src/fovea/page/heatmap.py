"""Overlay an attribution map on its image as a heat map."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fovea.page.label import to_rgb

# Inferno gets lighter evenly, so equal steps of a map look equal, also in grey print and to the colour-blind.
# Of signed maps zero must be neutral: coolwarm is grey there, and was made to shade other pictures.
UNSIGNED, SIGNED = "inferno", "coolwarm"
BLEND = {False: 0.62, True: 0.68}  # of the map's colour, for unsigned and for signed maps
CUT = 99.5  # percent: where a few pixels are over twice as high as all others, these set the scale


def overlay(picture: np.ndarray, values: np.ndarray, *, signed: bool) -> tuple[np.ndarray, str]:
    """Shade a picture, uint8 (H, W) or (H, W, C), with a map (H, W): uint8 (H, W, 3), and a note or "".

    The picture is greyed, so that every colour is the map's. What is not a finite number stays unshaded, as
    does all of a picture whose map is the same everywhere.

    Raises:
        ValueError: a map of another size than the picture.
    """
    picture = to_rgb(picture)
    if values.shape != picture.shape[:2]:
        raise ValueError(f"a map of shape {values.shape} does not lie over a picture {picture.shape[:2]}")
    grey = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)  # (H, W)
    grey = np.repeat(grey[..., None], 3, axis=2)
    finite = np.isfinite(values)
    note = _flaw(values, finite, signed=signed)
    flat = finite.any() and values[finite].min() == values[finite].max()
    if flat or not finite.any():
        return grey.astype(np.uint8), note
    part = np.where(finite, BLEND[signed], 0.0)[..., None]
    colour = _palette(signed)[_index(scaled(values, signed=signed), signed=signed)]
    return (grey * (1 - part) + colour * part).astype(np.uint8), note


def outlined(picture: np.ndarray, box: tuple[float, float, float, float] | None) -> np.ndarray:
    """Draw a box, x1 y1 x2 y2 in pixels, white with a dark edge, on a picture uint8 (H, W, 3); None: none."""
    if box is None:
        return picture
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (round(value) for value in box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    x2, y2 = min(max(x2 - 1, x1), width - 1), min(max(y2 - 1, y1), height - 1)
    image = Image.fromarray(picture)
    pen, line = ImageDraw.Draw(image), max(1, round(min(height, width) / 200))
    if x2 - x1 > 2 * line and y2 - y1 > 2 * line:
        pen.rectangle((x1 + line, y1 + line, x2 - line, y2 - line), outline="black", width=line)
    pen.rectangle((x1, y1, x2, y2), outline="white", width=line)
    return np.asarray(image)


def scaled(values: np.ndarray, *, signed: bool) -> np.ndarray:
    """Bring a map to 0…1, zero staying zero, or a signed one to -1…1; what is not finite becomes 0.

    The largest value becomes 1, unless it is an outlier: see CUT.
    """
    values = np.where(np.isfinite(values), values, 0.0).astype(np.float64)
    if not signed:
        values = values.clip(min=0.0)
    size = np.abs(values)
    most, usual = float(size.max()), float(np.percentile(size, CUT))
    top = usual if 0 < 2 * usual < most else most
    return values if top == 0 else (values / top).clip(-1.0, 1.0)


def colour_bar(*, signed: bool, width: int, height: int) -> np.ndarray:
    """Return the colours from 0 to 1, or from -1 to 1, as they look over a grey of middle brightness."""
    steps = np.linspace(-1.0 if signed else 0.0, 1.0, width)[None].repeat(height, axis=0)
    part = BLEND[signed]
    colour = _palette(signed)[_index(steps, signed=signed)]
    return (128 * (1 - part) + colour * part).astype(np.uint8)


def meaning(*, signed: bool) -> str:
    """Describe the ends of the colour bar."""
    if signed:
        return "blue: evidence against the class, red: for it; each map is divided by its largest magnitude"
    return "each map is divided by its maximum"


def heat(values: np.ndarray) -> np.ndarray:
    """Colour a map (h, w) in 0…1 from dark to bright: uint8 (h, w, 3)."""
    return np.rint(_palette(False)[_index(np.nan_to_num(values).clip(0, 1), signed=False)]).astype(np.uint8)


def _flaw(values: np.ndarray, finite: np.ndarray, *, signed: bool) -> str:
    if not finite.any():
        return "no finite value"
    low, high = float(values[finite].min()), float(values[finite].max())
    if low == high:
        return "zero everywhere" if low == 0 else f"the same everywhere ({low:.3g})"
    if not signed and high <= 0:
        return "nothing above zero"
    lost = 1 - float(finite.mean())
    return f"{100 * lost:.1f} % not finite" if lost else ""


def _index(values: np.ndarray, *, signed: bool) -> np.ndarray:
    """Map 0…1, or -1…1, to 0…255."""
    return np.rint(255 * ((values + 1) / 2 if signed else values)).astype(np.int64)


@lru_cache(maxsize=2)
def _palette(signed: bool) -> np.ndarray:
    """Return the colour map, float32 (256, 3) in 0…255."""
    from matplotlib import colormaps

    table = colormaps[SIGNED if signed else UNSIGNED](np.arange(256))[:, :3]  # (256, 3) in 0…1
    return np.asarray(255 * table, dtype=np.float32)
