"""Draw grids of images: rows with a heading, and lines of text below each image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fovea.files import own_folder, replacing
from fovea.page.heatmap import colour_bar, meaning
from fovea.page.label import INK, MARKS, SOFT, Colour, drawable, fit, font, resized, write

GAP = 12  # pixels between pictures
SIDES = (96, 224)  # the smallest and the largest tile
PIXELS = 20_000_000  # of a whole figure, about
ACROSS = 1440  # pixels: wider rows are broken
PAGE = 1260  # pixels: a report shows no wider picture at its own size
WASH, RIM = (245, 246, 247), (220, 223, 227)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """An image, uint8 (H, W, 1, 3 or 4), with lines of text; or, in its place, why there is none.

    `ok` says whether the first line is right, which colours and marks it.
    """

    picture: np.ndarray | None
    lines: Sequence[str] = ()
    instead: str = ""
    ok: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of tiles, None for a gap, under a heading whose colour marks a correct or wrong prediction."""

    tiles: Sequence[Tile | None]
    heading: str = ""
    ok: bool | None = None


def sheet(path: Path, tiles: Sequence[np.ndarray], *, columns: int = 5) -> Path:
    """Write a contact sheet of images (H, W, 3) uint8, row by row."""
    wide = max(tile.shape[1] for tile in tiles)
    centred = [np.hstack([_white(len(t), (wide - t.shape[1]) // 2), t]) for t in tiles]
    rows = [beside(centred[i : i + columns], width=wide) for i in range(0, len(tiles), columns)]
    return write_png(path, stacked(rows, margin=GAP))


def grid(path: Path, rows: Sequence[Sequence[Tile | None]], *, titles: Sequence[str] = ()) -> Path:
    """Write rows of pictures as one PNG, each row below its title; pictures share the width of a page."""
    side = min(SIDES[1], (PAGE - GAP) // max(map(len, rows)) - GAP)
    named = [
        Row(heading=title, tiles=row) for title, row in zip(titles or [""] * len(rows), rows, strict=True)
    ]
    return write_png(path, stacked([draw_row(row, side=side, size=17) for row in named], margin=GAP))


def draw_sheet(
    path: Path, rows: Sequence[Row], *, title: Sequence[str], signs: Iterable[bool], side: int = SIDES[1]
) -> Path:
    """Write one PNG: the title, the rows, broken where they are too wide, and the colour bars.

    `side` is that of a tile in pixels, less where there are many.
    """
    count = max(len(row.tiles) for row in rows)
    side = min(side, max(SIDES[0], math.isqrt(PIXELS // max(count * len(rows), 1))))
    across = max(1, ACROSS // (side + GAP))
    columns = math.ceil(count / math.ceil(count / across))  # the parts of a broken row are about equally long
    drawn = [draw_row(row, side=side, columns=columns) for row in rows]
    bars = [_bar(signed) for signed in signs]
    width = max(480, *(part.shape[1] for part in [*drawn, *bars]))
    lines = [
        line(text, size=14 if i else 18, ink=SOFT if i else INK, width=width) for i, text in enumerate(title)
    ]
    return write_png(path, stacked([stacked(lines, gap=3), *drawn, *bars], margin=GAP))


def draw_row(row: Row, *, side: int, size: int = 12, columns: int = 0) -> np.ndarray:
    """Draw a row: heading, then tiles, at most `columns` of them side by side; `size` is that of the text."""
    columns = columns or max(len(row.tiles), 1)
    parts = [row.tiles[i : i + columns] for i in range(0, len(row.tiles), columns)]
    bands = [_band(part, side, size) for part in parts]
    if row.heading:
        colour, mark = MARKS[row.ok]
        text = drawable(mark + row.heading)
        room = max(
            columns * (side + GAP) - GAP, min(round(font(size + 2).getlength(text)) + 1, ACROSS - 2 * GAP)
        )
        head = line(text, size=size + 2, ink=INK if row.ok is None else colour, width=room)
        bands.insert(0, np.vstack([np.full((1, room, 3), RIM, np.uint8), _white(4, room), head]))
    return stacked(bands)


def beside(pictures: Sequence[np.ndarray], *, width: int = 0, gap: int = GAP) -> np.ndarray:
    """Put pictures side by side on white, at the same height, each at least `width` pixels wide."""
    height = max(len(picture) for picture in pictures)
    parts = []
    for picture in pictures:
        cell = _white(height, max(width, picture.shape[1]))
        cell[: len(picture), : picture.shape[1]] = picture
        parts += [_white(height, gap), cell]
    return np.hstack(parts[1:])


def stacked(pictures: Sequence[np.ndarray], *, gap: int = GAP, margin: int = 0) -> np.ndarray:
    """Put pictures below each other on white, flush left, with a margin around."""
    width = max(picture.shape[1] for picture in pictures)
    parts = []
    for picture in pictures:
        parts += [_white(gap, width), np.hstack([picture, _white(len(picture), width - picture.shape[1])])]
    return np.pad(np.vstack(parts[1:]), ((margin,) * 2, (margin,) * 2, (0, 0)), constant_values=255)


def line(text: str, *, size: int, ink: Colour, width: int) -> np.ndarray:
    """Draw one line of text: uint8 (1.4 size, width, 3)."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (width, round(1.4 * size)), "white")
    write(ImageDraw.Draw(canvas), (0, 0), text, size=size, ink=ink, width=width)
    return np.asarray(canvas)


def _band(tiles: Sequence[Tile | None], side: int, size: int) -> np.ndarray:
    """Draw tiles beside each other; their words begin at one height."""
    pictures = [_picture(tile, side) if tile else _white(1, side) for tile in tiles]
    height = max(map(len, pictures))
    columns = []
    for tile, picture in zip(tiles, pictures, strict=True):
        left = (side - picture.shape[1]) // 2
        above = np.hstack([_white(len(picture), left), picture])
        lines = _words(tile, side, size) if tile else []
        columns.append(stacked([_white(height - len(picture), side), above, _white(4, side), *lines], gap=0))
    return beside(columns, width=side)


def _picture(tile: Tile, side: int) -> np.ndarray:
    from PIL import Image, ImageDraw

    if tile.picture is not None:
        return resized(tile.picture, side=side)
    canvas = Image.new("RGB", (side, side), WASH)
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, 0, side - 1, side - 1), outline=RIM)
    for i, text in enumerate(wrap(tile.instead, size=11, width=side - 16, lines=(side - 12) // 14)):
        pen.text((8, 6 + 14 * i), text, fill=SOFT, font=font(11))
    return np.asarray(canvas)


def _words(tile: Tile, side: int, size: int) -> list[np.ndarray]:
    colour, mark = MARKS[tile.ok]
    first = INK if tile.ok is None else colour
    return [
        line(text if i else mark + text, size=size, ink=SOFT if i else first, width=side)
        for i, text in enumerate(tile.lines)
    ]


def _bar(signed: bool) -> np.ndarray:
    """Draw a colour bar with its numbers and what they mean."""
    low, text = ("−1" if signed else "0"), meaning(signed=signed)
    words = [(low, INK), ("1", INK), (text, SOFT)]
    drawn = [line(w, size=12, ink=ink, width=math.ceil(font(12).getlength(w))) for w, ink in words]
    bar = colour_bar(signed=signed, width=140, height=14)
    return beside([drawn[0], bar, drawn[1], drawn[2]], gap=7)


def wrap(text: str, *, size: int, width: int, lines: int) -> list[str]:
    """Break text into lines of at most `width` pixels; of more, the last one is `…`."""
    found = [""]
    for word in drawable(" ".join(text.split())).split(" "):
        longer = f"{found[-1]} {word}".strip()
        if font(size).getlength(longer) <= width:
            found[-1] = longer
        else:
            found.append(fit(word, font=font(size), width=width))
    found = [text for text in found if text]
    return found if len(found) <= lines else [*found[: lines - 1], "…"]


def _white(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """Write pixels (H, W, 3) uint8, whole or not at all."""
    from PIL import Image

    own_folder(path.parent)
    with replacing(path) as draft:
        Image.fromarray(pixels).save(draft, "png", compress_level=4, dpi=(150, 150))
    return path
