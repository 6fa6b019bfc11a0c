"""Draw image, truth, prediction and errors side by side, one example after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fovea.page.annotations import errors, legend, stretched
from fovea.page.image_grid import Row, Tile, draw_row, sheet
from fovea.page.label import thumbnail

SIDE, COLUMNS = 160, 2  # pixels of a picture, examples beside each other
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
    return sheet(path, tiles, columns=COLUMNS, above=legend(present, classes, table, width=width))


def _example(
    image: np.ndarray, truth: np.ndarray, preds: np.ndarray, name: str, iou: float, table: np.ndarray
) -> np.ndarray:
    """Lay the four pictures of one example out under its name: uint8 (H, W, 3)."""
    small = thumbnail(image, side=SIDE)
    true, found = (stretched(values, small.shape) for values in (truth, preds))
    pictures = (small, table[true], table[found], errors(small, true, found))
    tiles = [Tile(picture=picture, lines=[word]) for word, picture in zip(PARTS, pictures, strict=True)]
    return draw_row(Row(tiles=tiles, heading=f"{name}  IoU {iou:.3f}"), side=SIDE)
