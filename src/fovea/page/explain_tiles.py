"""Draw rows of pictures with words below, and a line above every row, on one sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.files import replacing
from fovea.page.glyphs import drawable, font
from fovea.page.heatmap import colour_bar, meaning
from fovea.page.label import MARKS, fit, thumbnail

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

GAP, STEP, PIXELS = 12, 17, 20_000_000  # PIXELS: of a whole sheet, about
SIDES = (96, 224)  # the smallest and the largest tile
ACROSS = 1440  # pixels: wider rows are broken
INK, SOFT, WASH, RIM = (28, 30, 33), (92, 99, 107), (245, 246, 247), (220, 223, 227)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A picture with its lines, the first one in ink; or, in its place, why there is none.

    `ok` says whether the first line is right, which colours and marks it.
    """

    picture: np.ndarray | None
    lines: Sequence[str]
    instead: str = ""
    ok: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """Some tiles, None for a gap, under a heading that tells by its colour whether a prediction is right."""

    heading: str
    ok: bool | None
    tiles: Sequence[Tile | None]


def draw_sheet(
    path: Path, rows: Sequence[Row], *, title: Sequence[str], signs: Iterable[bool], side: int = SIDES[1]
) -> Path:
    """Write one PNG: the title, the rows, broken where they are too wide, and the colour bars.

    `side` is that of a tile in pixels, less where there are many.
    """
    from PIL import Image

    count = max(len(row.tiles) for row in rows)
    side = min(side, _side(count * len(rows)))
    columns = _columns(count, side)
    bands = [band for row in rows for band in _bands(row, columns, side)]
    bars = [_bar(signed) for signed in signs]
    width = max(GAP + columns * (side + GAP), 480, *(bar.shape[1] + 2 * GAP for bar in bars), 0)
    parts = [_title(title, width), *(_paste(band, width) for band in bands)]
    parts += [_paste(bar, width) for bar in bars]
    gap = np.full((GAP, width, 3), 255, np.uint8)
    whole = Image.fromarray(np.vstack([gap, *(piece for part in parts for piece in (part, gap))]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        whole.save(draft, format="png", compress_level=4)
    return path


def _side(tiles: int) -> int:
    """Return how large a tile may be: many of them share the sheet."""
    low, high = SIDES
    return max(low, min(high, math.isqrt(PIXELS // max(tiles, 1))))


def _columns(count: int, side: int) -> int:
    """Return how many tiles stand side by side; rows that are broken come out about equally long."""
    most = max(1, ACROSS // (side + GAP))
    return math.ceil(count / math.ceil(count / most))


def _bands(row: Row, columns: int, side: int) -> list[np.ndarray]:
    width = columns * (side + GAP) - GAP
    starts = range(0, len(row.tiles), columns)
    parts = [[_tile(tile, side) for tile in row.tiles[i : i + columns]] for i in starts]
    return [_heading(row, width), *(_beside(part, width) for part in parts)]


def _beside(tiles: Sequence[np.ndarray], width: int) -> np.ndarray:
    canvas = np.full((max(t.shape[0] for t in tiles), width, 3), 255, np.uint8)
    at = 0
    for tile in tiles:
        canvas[: tile.shape[0], at : at + tile.shape[1]] = tile
        at += tile.shape[1] + GAP
    return canvas


def _tile(tile: Tile | None, side: int) -> np.ndarray:
    """Draw one tile, `side` pixels wide."""
    from PIL import ImageDraw

    if tile is None:
        return np.full((1, side, 3), 255, np.uint8)
    small = None if tile.picture is None else thumbnail(tile.picture, side=side)
    height = side if small is None else small.shape[0]
    canvas = _blank(side, height + 5 + STEP * len(tile.lines))
    draw = ImageDraw.Draw(canvas)
    if small is None:
        draw.rectangle((0, 0, side - 1, side - 1), fill=WASH, outline=RIM)
        for i, line in enumerate(wrap(tile.instead, size=11, width=side - 16, lines=(side - 12) // 14)):
            draw.text((8, 6 + 14 * i), line, fill=SOFT, font=font(11))
    else:
        canvas.paste(_image(small), (0, 0))
    colour, mark = MARKS[tile.ok]
    first = INK if tile.ok is None else colour
    for i, line in enumerate([mark + line for line in tile.lines[:1]] + list(tile.lines[1:])):
        _write(draw, (0, height + 4 + STEP * i), line, 12, SOFT if i else first, side)
    return np.asarray(canvas)


def _heading(row: Row, width: int) -> np.ndarray:
    from PIL import ImageDraw

    canvas = _blank(width, 25)
    (colour, mark), draw = MARKS[row.ok], ImageDraw.Draw(canvas)
    draw.line((0, 0, width, 0), fill=RIM)
    _write(draw, (0, 6), mark + row.heading, 14, INK if row.ok is None else colour, width)
    return np.asarray(canvas)


def _title(lines: Sequence[str], width: int) -> np.ndarray:
    from PIL import ImageDraw

    canvas = _blank(width, 24 + 20 * (len(lines) - 1))
    draw = ImageDraw.Draw(canvas)
    for i, line in enumerate(lines):
        place = (GAP, 0 if i == 0 else 6 + 20 * i)
        _write(draw, place, line, 18 if i == 0 else 14, INK if i == 0 else SOFT, width - 2 * GAP)
    return np.asarray(canvas)


def _bar(signed: bool) -> np.ndarray:
    """Draw a colour bar with its numbers and what they mean."""
    from PIL import ImageDraw

    text, length = meaning(signed=signed), 140
    ends = ("−1", "1") if signed else ("0", "1")
    small = font(12)
    start = math.ceil(small.getlength(ends[0])) + 6
    canvas = _blank(start + length + 22 + math.ceil(small.getlength(text)), 16)
    draw = ImageDraw.Draw(canvas)
    draw.text((0, 0), ends[0], fill=INK, font=small)
    canvas.paste(_image(colour_bar(signed=signed, width=length, height=12)), (start, 2))
    draw.text((start + length + 6, 0), ends[1], fill=INK, font=small)
    draw.text((start + length + 22, 0), text, fill=SOFT, font=small)
    return np.asarray(canvas)


def wrap(text: str, *, size: int, width: int, lines: int) -> list[str]:
    """Break text into lines of at most `width` pixels; of more, the last one is `…`."""
    found = [""]
    for word in drawable(" ".join(text.split())).split(" "):
        longer = f"{found[-1]} {word}".strip()
        if font(size).getlength(longer) <= width:
            found[-1] = longer
        else:
            found.append(fit(word, font=font(size), width=width))
    found = [line for line in found if line]
    return found if len(found) <= lines else [*found[: lines - 1], "…"]


def _write(draw: ImageDraw, place: tuple[int, int], text: str, size: int, ink: Any, width: int) -> None:
    draw.text(place, fit(drawable(text), font=font(size), width=width), fill=ink, font=font(size))


def _paste(part: np.ndarray, width: int) -> np.ndarray:
    canvas = np.full((part.shape[0], width, 3), 255, np.uint8)
    canvas[:, GAP : GAP + part.shape[1]] = part[:, : width - GAP]
    return canvas


def _blank(width: int, height: int) -> Any:
    from PIL import Image

    return Image.new("RGB", (width, height), "white")


def _image(pixels: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)
