"""Lay pictures with a few words below each out in rows, as the studies of a model show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fovea.page.glyphs import drawable, font
from fovea.page.label import MARKS, fit, to_rgb

if TYPE_CHECKING:
    import PIL.Image
    from PIL.ImageDraw import ImageDraw
    from torch import Tensor

WIDTH = 1260  # pixels; a page shows no wider picture at its own size
MAX_SIDE, GAP, TEXT = 224, 10, 17
STEP = 23  # from line to line
INK, SOFT = (28, 30, 33), (92, 99, 107)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Hold a picture, uint8 (H, W, 1 or 3), or None for a blank, and the lines below it.

    `ok` says whether the first line is right, which colours and marks it.
    """

    picture: np.ndarray | None = None
    lines: Sequence[str] = ()
    ok: bool | None = None


def grid(path: Path, rows: Sequence[Sequence[Cell]], *, titles: Sequence[str] = ()) -> Path:
    """Write rows of pictures as a PNG, each row below its title; pictures share the width evenly."""
    from PIL import Image, ImageDraw

    columns = max(len(row) for row in rows)
    side = min(MAX_SIDE, (WIDTH - GAP) // columns - GAP)
    drawn = [[_scaled(cell.picture, side) for cell in row] for row in rows]
    # the longest title has its room, also over a single picture
    across = max(columns * (side + GAP) + GAP, *(_wide(title) for title in titles), 0)
    tops, bottom = _tops(rows, drawn, titled=bool(titles))
    page = Image.new("RGB", (min(across, WIDTH), bottom), "white")
    draw = ImageDraw.Draw(page)
    for i, (row, pictures, top) in enumerate(zip(rows, drawn, tops, strict=True)):
        if titles:
            text = fit(drawable(titles[i]), font=font(TEXT), width=page.width - 2 * GAP)
            draw.text((GAP, top), text, fill=SOFT, font=font(TEXT))
            top += STEP + 4
        high = max((p.height for p in pictures if p), default=0)
        for j, (cell, picture) in enumerate(zip(row, pictures, strict=True)):
            left = GAP + j * (side + GAP)
            if picture:
                page.paste(picture, (left + (side - picture.width) // 2, top + high - picture.height))
            _write(draw, cell, left, top + high + 4, side)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, compress_level=4, dpi=(150, 150))
    return path


def to_uint8(picture: Tensor) -> np.ndarray:
    """Return a picture (C, H, W) in 0…1 as uint8 (H, W, 3); other than 1 or 3 channels are averaged."""
    picture = picture.detach().float().cpu().clamp(0, 1)
    picture = picture if len(picture) in (1, 3) else picture.mean(dim=0, keepdim=True)
    return to_rgb((255 * picture).round().byte().permute(1, 2, 0).numpy())


def heat(values: Tensor) -> np.ndarray:
    """Colour a map (h, w) in 0…1 from dark to bright: uint8 (h, w, 3)."""
    from matplotlib import colormaps

    coloured = colormaps["inferno"](values.detach().float().cpu().clamp(0, 1).numpy())
    return (255 * coloured[..., :3]).round().astype(np.uint8)


def _scaled(picture: np.ndarray | None, side: int) -> PIL.Image.Image | None:
    """Bring the longer side to `side`; the pixels of a small picture stay sharp squares."""
    from PIL import Image

    if picture is None:
        return None
    image = Image.fromarray(to_rgb(picture))
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 2.5 else Image.Resampling.LANCZOS)


def _tops(
    rows: Sequence[Sequence[Cell]], drawn: Sequence[Sequence[PIL.Image.Image | None]], *, titled: bool
) -> tuple[list[int], int]:
    """Return where each row begins, and where the page ends."""
    tops, top = [], GAP
    for row, pictures in zip(rows, drawn, strict=True):
        tops.append(top)
        lines = max(len(cell.lines) for cell in row)
        high = max((p.height for p in pictures if p), default=0)
        top += (STEP + 4) * titled + high + 4 + lines * STEP + GAP
    return tops, top


def _wide(title: str) -> int:
    return round(font(TEXT).getlength(drawable(title))) + 2 * GAP + 1


def _write(draw: ImageDraw, cell: Cell, left: int, top: int, side: int) -> None:
    colour, mark = MARKS[cell.ok] if cell.ok is not None else (INK, "")
    for i, line in enumerate(cell.lines):
        text = fit(drawable(mark + line if i == 0 else line), font=font(TEXT), width=side)
        draw.text((left, top + i * STEP), text, fill=colour if i == 0 else SOFT, font=font(TEXT))
