"""Draw image, truth, prediction and errors side by side, one example after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fovea.page.glyphs import drawable, font
from fovea.page.label import fit, sheet, thumbnail
from fovea.page.palette import errors, legend, stretched

SIDE, GAP, BAR = 160, 4, 20  # pixels
COLUMNS = 2
PARTS = ("image", "truth", "prediction", "errors")


def draw(examples: Mapping[str, np.ndarray], classes: Sequence[str], table: np.ndarray, path: Path) -> Path:
    """Write a PNG of examples: image (N, H, W, C), truth and preds (N, H, W), ids and iou (N,)."""
    keys = ("image", "truth", "preds", "ids", "iou")
    rows = zip(*(examples[key] for key in keys), strict=True)
    tiles = [
        _example(image, truth, preds, str(name), float(iou), table) for image, truth, preds, name, iou in rows
    ]
    width = tiles[0].shape[1] * min(COLUMNS, len(tiles))
    present = np.union1d(np.unique(examples["truth"]), np.unique(examples["preds"])).tolist()
    sheet(path, tiles, columns=COLUMNS)
    return _with_legend(path, legend(present, classes, table, width=width))


def _example(
    image: np.ndarray, truth: np.ndarray, preds: np.ndarray, name: str, iou: float, table: np.ndarray
) -> np.ndarray:
    """Lay the four pictures of one example out under its name: uint8 (H, W, 3)."""
    from PIL import Image, ImageDraw

    small = thumbnail(image, side=SIDE)
    height, width = small.shape[:2]
    true, found = (stretched(values, small.shape) for values in (truth, preds))
    pictures = (small, table[true], table[found], errors(small, true, found))
    cell = max(width, 84)  # room for the word below
    canvas = Image.new("RGB", (len(PARTS) * (cell + GAP) - GAP, height + 2 * BAR), "white")
    pen, text = ImageDraw.Draw(canvas), font(12)
    score = f"IoU {iou:.3f}"
    room = canvas.width - round(text.getlength(score)) - 12
    pen.text((0, 2), fit(drawable(name), font=text, width=room), fill=(28, 30, 33), font=text)
    pen.text((canvas.width - text.getlength(score), 2), score, fill=(28, 30, 33), font=text)
    for column, (word, picture) in enumerate(zip(PARTS, pictures, strict=True)):
        left = column * (cell + GAP)
        canvas.paste(Image.fromarray(picture), (left + (cell - width) // 2, BAR))
        pen.text((left + cell / 2, BAR + height + 2), word, fill=(92, 99, 107), font=font(11), anchor="ma")
    return np.asarray(canvas)


def _with_legend(path: Path, names: np.ndarray) -> Path:
    """Put the names of the colours on top of a picture."""
    from PIL import Image

    with Image.open(path) as page:
        canvas = Image.new("RGB", (max(page.width, names.shape[1]), page.height + names.shape[0]), "white")
        canvas.paste(Image.fromarray(names), (6, 0))
        canvas.paste(page, (0, names.shape[0]))
    canvas.save(path, compress_level=4)
    return path
