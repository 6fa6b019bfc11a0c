"""Draw what a net in training sees in the same few images, epoch by epoch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fovea.explain.view.columns import said
from fovea.page.heatmap import overlay
from fovea.page.image_grid import Row, Tile, draw_sheet
from fovea.page.label import SIDE

if TYPE_CHECKING:
    from fovea.explain.core.class_choice import Asked

ACROSS = 8  # images side by side
NAME = "epoch_{:04d}.png"


def write_sheet(
    folder: Path,
    *,
    epoch: int,
    ids: Sequence[str],
    pictures: np.ndarray,
    predicted: Sequence[Asked],
    truth: Sequence[str | None],
    maps: Mapping[str, np.ndarray | str],
    signed: Collection[str] = (),
) -> Path:
    """Write `epoch_0007.png`: a column for each image, its input above an overlay of each method.

    Args:
        folder: it is made where it is missing.
        epoch: the one that the net has just been trained for.
        ids: of the images (B).
        pictures: uint8 (B, H, W, 3).
        predicted: the class of each image.
        truth: the name of the true class of each image, None where it is not known.
        maps: of each method, (B, H, W), or why there are none.
        signed: the methods whose negative values speak against the class.
    """
    rows = []
    for start in range(0, len(ids), ACROSS):
        part = range(start, min(start + ACROSS, len(ids)))
        inputs = [_input(pictures[i], ids[i], predicted[i], truth[i]) for i in part]
        rows.append(Row(heading="input and prediction", ok=None, tiles=inputs))
        rows += [_row(name, found, pictures, part, name in signed) for name, found in maps.items()]
    signs = sorted({name in signed for name, found in maps.items() if not isinstance(found, str)})
    path = folder / NAME.format(epoch)
    return draw_sheet(path, rows, title=[f"epoch {epoch}"], signs=signs, side=SIDE)


def _input(picture: np.ndarray, name: str, predicted: Asked, truth: str | None) -> Tile:
    ok = None if truth is None else truth == predicted.name
    lines = [said(predicted), *([f"true: {truth}"] if ok is False else []), name]
    return Tile(picture=picture, lines=lines, ok=ok)


def _row(
    method: str, found: np.ndarray | str, pictures: np.ndarray, part: Sequence[int], signed: bool
) -> Row:
    if isinstance(found, str):
        return Row(heading=f"{method}: {found}", ok=None, tiles=[])
    drawn = [overlay(pictures[i], found[i], signed=signed) for i in part]
    tiles = [Tile(picture=picture, lines=[note] if note else []) for picture, note in drawn]
    return Row(heading=method, ok=None, tiles=tiles)
