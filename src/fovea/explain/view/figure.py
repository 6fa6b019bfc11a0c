"""Draw maps over their pictures: a figure for each image, and a sheet for each epoch of a training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from fovea.explain.core.class_choice import SelectedClass
from fovea.explain.view.attribution import (
    Attribution,
    ImageAttributions,
    MapColumn,
    merge,
    signs,
    true_class,
)
from fovea.page.heatmap import outlined, overlay
from fovea.page.image_grid import Row, Tile, draw_sheet
from fovea.page.label import SIDE

ACROSS = 8  # images of a sheet side by side
NAME = "epoch_{:04d}.png"
Box = tuple[float, float, float, float]


def draw_figure(path: Path, records: Sequence[ImageAttributions]) -> Path:
    """Write the figure of one image, a row for each model: prediction, input, an overlay per map."""
    columns = merge(record.by_column() for record in records)
    truth = true_class(records)
    boxed = any(one.selected and one.selected.number for record in records for one in record.attributions)
    known = "true class unknown" if truth is None else f"true class: {truth}"
    title = [records[0].id, *([] if boxed and truth is None else [known])]
    return draw_sheet(path, [_row(record, columns) for record in records], title=title, signs=signs(records))


def _row(record: ImageAttributions, columns: Sequence[MapColumn]) -> Row:
    """Return a record as a row of tiles under these columns, the input first."""
    right = {True: " – right", False: " – wrong", None: ""}[record.correct]
    heading = f"{record.model}: predicted {record.predicted}{right}"
    maps, first = record.by_column(), Tile(picture=record.picture, lines=["input"])
    tiles = [_tile(record, maps[column]) if column in maps else None for column in columns]
    return Row(heading=heading, ok=record.correct, tiles=[first, *tiles])


def _tile(record: ImageAttributions, one: Attribution) -> Tile:
    """Draw a map over the picture of its record."""
    lines = [part for part in (one.method, one.layer, one.selected and str(one.selected)) if part]
    if one.map is None:
        return Tile(picture=None, lines=lines, instead=one.problem or "no map")
    box = None if one.selected is None else one.selected.box
    return _overlaid(record.picture, one.map, lines, signed=one.signed, box=box)


def _overlaid(
    picture: np.ndarray, values: np.ndarray, lines: Sequence[str], *, signed: bool, box: Box | None = None
) -> Tile:
    drawn, note = overlay(picture, values, signed=signed)
    return Tile(picture=outlined(drawn, box), lines=[*lines, *([note] if note else [])])


def write_sheet(
    folder: Path,
    *,
    epoch: int,
    ids: Sequence[str],
    pictures: np.ndarray,
    predicted: Sequence[SelectedClass],
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
        for name, found in maps.items():
            if isinstance(found, str):
                rows.append(Row(heading=f"{name}: {found}", ok=None, tiles=[]))
            else:
                tiles = [
                    _overlaid(pictures[i], found[i], [], signed=name in signed, box=predicted[i].box)
                    for i in part
                ]
                rows.append(Row(heading=name, ok=None, tiles=tiles))
    bars = sorted({name in signed for name, found in maps.items() if not isinstance(found, str)})
    return draw_sheet(folder / NAME.format(epoch), rows, title=[f"epoch {epoch}"], signs=bars, side=SIDE)


def _input(picture: np.ndarray, name: str, predicted: SelectedClass, truth: str | None) -> Tile:
    ok = None if truth is None else truth == predicted.name
    lines = [str(predicted), *([f"true: {truth}"] if ok is False else []), name]
    return Tile(picture=picture, lines=lines, ok=ok)
