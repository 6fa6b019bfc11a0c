"""Draw any class name or path with the one font that Matplotlib brings along."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont


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
    return char.encode(
        "unicode_escape" if ord(char) < 0xD800 or ord(char) > 0xDFFF else "ascii", "backslashreplace"
    ).decode()
