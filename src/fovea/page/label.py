"""Write what was predicted under an image, and lay annotated images out on a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fovea.files import replacing
from fovea.page.glyphs import drawable, font

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

MIN_WIDTH = 128  # pixels; room for a label
SIDE = 144  # pixels; enough for a printed page, small enough to carry two dozen inside it
MARKS = {True: ((26, 107, 60), "✓ "), False: ((163, 32, 32), "✗ "), None: ((120, 128, 136), "")}


def annotate(image: np.ndarray, lines: Sequence[str], *, ok: bool | None = None) -> np.ndarray:
    """Put lines of text in a bar under an image: uint8 (H, W, C), C in {1, 3, 4}, to uint8 (H', W', 3).

    `ok` says whether the prediction is right; it colours the edge of the bar and marks the first line.
    The picture itself is never painted over; a small one is enlarged by a whole number, a narrow one padded.
    """
    from PIL import Image, ImageDraw

    image = to_rgb(image)
    image = thumbnail(image) if max(image.shape[:2]) < MIN_WIDTH else image
    height, width = image.shape[0], max(image.shape[1], MIN_WIDTH)
    size = max(12, width // 30)
    pad, step, edge = size // 2, round(size * 1.35), max(3, size // 4)
    canvas = Image.new("RGB", (width, height + edge + len(lines) * step + 2 * pad), "white")
    canvas.paste(Image.fromarray(image), ((width - image.shape[1]) // 2, 0))
    draw, (color, mark) = ImageDraw.Draw(canvas), MARKS[ok]
    draw.rectangle((0, height, width, height + edge - 1), fill=color)
    for i, line in enumerate(lines):
        text = fit(drawable(mark + line if i == 0 else line), font=font(size), width=width - 2 * pad)
        place, ink = (pad, height + edge + pad + i * step), color if i == 0 else (28, 30, 33)
        draw.text(place, text, fill=ink, font=font(size))
    return np.asarray(canvas)


def fit(text: str, *, font: FreeTypeFont, width: int) -> str:
    """Shorten text in its middle until it is at most `width` pixels wide: its end often holds the number."""
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        head = (kept + 1) // 2
        short = text[:head] + "…" + text[len(text) - (kept - head) :]
        if font.getlength(short) <= width:
            return short
    return "…"


def thumbnail(image: np.ndarray, *, side: int = SIDE) -> np.ndarray:
    """Bring an image to at most `side` pixels: whole-number enlargement shows pixels as they are."""
    from PIL import Image

    image = to_rgb(image)
    longest = max(image.shape[:2])
    if longest <= side:
        return image.repeat(side // longest, axis=0).repeat(side // longest, axis=1)
    height, width = (max(1, round(length * side / longest)) for length in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Bring (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8 to (H, W, 3); transparency is drawn on white.

    Raises:
        ValueError: another type or shape.
    """
    image = image[..., None] if image.ndim == 2 else image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
        raise ValueError(f"an image must be uint8 (H, W, 1, 3 or 4), this is {image.dtype} {image.shape}")
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.uint16)
        return ((image[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
    return image.repeat(3, axis=2) if image.shape[2] == 1 else image


def beside(*pictures: np.ndarray, gap: int = 4) -> np.ndarray:
    """Set pictures (H, W, 3) of one height beside each other, with white between them."""
    white = np.full((len(pictures[0]), gap, 3), 255, np.uint8)
    return np.hstack([part for picture in pictures for part in (white, picture)][1:])


def sheet(path: Path, tiles: Sequence[np.ndarray], *, columns: int = 5) -> Path:
    """Write images (H, W, 3) uint8 as one page, row by row."""
    from PIL import Image

    pictures = [Image.fromarray(tile) for tile in tiles]
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    wide, gap = max(picture.width for picture in pictures), 12
    heights = [max(picture.height for picture in row) for row in rows]
    across = min(columns, len(pictures))
    page = Image.new("RGB", (across * (wide + gap) + gap, sum(heights) + gap * (len(rows) + 1)), "white")
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for i, picture in enumerate(row):
            page.paste(picture, (gap + i * (wide + gap) + (wide - picture.width) // 2, top))
        top += height + gap
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        page.save(draft, "png", compress_level=4)
    return path
