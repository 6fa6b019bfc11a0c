"""Label and resize images; text is in the font that comes with Matplotlib."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

Colour = tuple[int, int, int]
INK, SOFT = (28, 30, 33), (92, 99, 107)
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
    pen, (colour, mark) = ImageDraw.Draw(canvas), MARKS[ok]
    pen.rectangle((0, height, width, height + edge - 1), fill=colour)
    for i, line in enumerate(lines):
        text, ink = (mark + line, colour) if i == 0 else (line, INK)
        write(pen, (pad, height + edge + pad + i * step), text, size=size, ink=ink, width=width - 2 * pad)
    return np.asarray(canvas)


def write(pen: ImageDraw, at: tuple[float, float], text: str, *, size: int, ink: Colour, width: int) -> None:
    """Write one line of any text, shortened to `width` pixels, its upper left corner at `at`."""
    pen.text(at, fit(drawable(text), font=font(size), width=width), fill=ink, font=font(size))


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
    image = to_rgb(image)
    longest = max(image.shape[:2])
    if longest <= side:
        return image.repeat(side // longest, axis=0).repeat(side // longest, axis=1)
    return resized(image, side=side)


def resized(image: np.ndarray, *, side: int) -> np.ndarray:
    """Bring the longer side to `side` pixels; those of a small image stay sharp squares."""
    from PIL import Image

    image = to_rgb(image)
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    resampling = Image.Resampling.NEAREST if scale >= 2.5 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize((width, height), resampling))


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


@lru_cache(maxsize=32)
def font(size: int) -> FreeTypeFont:
    """Load DejaVu Sans (Latin, Greek, Cyrillic, Arabic, Hebrew) without importing Matplotlib."""
    from PIL import ImageFont

    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("matplotlib is not installed: pip install matplotlib")
    path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def drawable(text: str) -> str:
    r"""Spell every character that the font lacks as `\u732b`: ugly, but never two names drawn the same."""
    return "".join(char if _has_glyph(char) else _escape(char) for char in unicodedata.normalize("NFC", text))


@lru_cache(maxsize=4096)
def _has_glyph(char: str) -> bool:
    if char.isascii():
        return char.isprintable()
    return char.isprintable() and _bitmap(char) != _bitmap("\U0010fffd")  # private use: the font has none


def _bitmap(char: str) -> tuple[tuple[int, int], bytes]:
    mask = font(24).getmask(char)
    return mask.size, bytes(mask)


def _escape(char: str) -> str:
    surrogate = 0xD800 <= ord(char) <= 0xDFFF
    return char.encode("ascii" if surrogate else "unicode_escape", "backslashreplace").decode()
