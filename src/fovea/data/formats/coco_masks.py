"""Draw the outlines and run lengths of COCO as one map of objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fovea.data.formats.rle import decode_rle
from fovea.types import IGNORE

MOST = 254  # objects beyond what a byte can number are ignored


def read_shapes(path: Path, places: np.ndarray) -> list[Any]:
    """Return the segmentations at these places (N, 2) of a file, in bytes; an empty place is none."""
    with path.open("rb") as file:
        texts = []
        for start, stop in places.tolist():
            file.seek(start)
            texts.append(file.read(stop - start) or b"[]")
    try:
        return [json.loads(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{path} has changed since it was opened ({error}): start again") from error


def draw_instances(
    shapes: Sequence[Any], *, crowd: np.ndarray, height: int, width: int, path: Path
) -> np.ndarray:
    """Return (H, W) uint8: i + 1 for the i-th object, 255 for crowds; small objects lie on large ones."""
    masks = []
    for shape in shapes:
        try:
            masks.append(draw(shape, height=height, width=width))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path} has a segmentation that cannot be read ({error}): correct it"
            ) from error
    numbers = [IGNORE if crowd[i] or i >= MOST else i + 1 for i in range(len(masks))]
    # crowds first: an object that also stands in a crowd is known better
    order = sorted(range(len(masks)), key=lambda i: (numbers[i] != IGNORE, -int(masks[i].sum())))
    out = np.zeros((height, width), dtype=np.uint8)
    for i in order:
        out[masks[i]] = numbers[i]
    return out


def draw(shape: Any, *, height: int, width: int) -> np.ndarray:
    """Return the mask (H, W) bool of polygons [[x, y, x, y, …], …] or of run lengths {counts, size}."""
    if isinstance(shape, dict):
        if list(shape["size"]) != [height, width]:
            raise ValueError(f"its size is {shape['size']}, that of the image [{height}, {width}]")
        return decode_rle(shape["counts"], height=height, width=width)
    mask = np.zeros((height, width), dtype=bool)
    for polygon in shape:
        mask |= fill(np.asarray(polygon, dtype=np.float64).reshape(-1, 2), height=height, width=width)
    return mask


def fill(points: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Return the pixels (H, W) whose centres lie inside of a polygon (N, 2), by the even-odd rule.

    OpenCV's fillPoly also draws the line, which makes small objects up to half again as large.
    """
    start, end = points, np.roll(points, -1, axis=0)
    centres = np.arange(height)[:, None] + 0.5  # (H, 1)
    rows, edges = np.nonzero((start[:, 1] <= centres) != (end[:, 1] <= centres))
    along = (rows + 0.5 - start[edges, 1]) / (end[edges, 1] - start[edges, 1])
    x = start[edges, 0] + along * (end[edges, 0] - start[edges, 0])
    crossings = np.zeros((height, width + 1), dtype=np.int32)
    np.add.at(crossings, (rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)), 1)
    return crossings.cumsum(axis=1)[:, :width] % 2 == 1
