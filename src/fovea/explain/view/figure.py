"""Draw what models see in one image: a row for each model, a tile for each map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fovea.explain.view.attribution import Explained, Seen
from fovea.explain.view.columns import Column, merge, placed, said, signs
from fovea.page.heatmap import overlay
from fovea.page.image_grid import Row, Tile, draw_sheet


def draw_figure(path: Path, shown: Sequence[Explained]) -> Path:
    """Write the figure of one image: what each model predicts, its input, and an overlay per map."""
    columns = merge(placed(record) for record in shown)
    truth = next((record.truth for record in shown if record.truth is not None), None)
    title = [shown[0].id, "true class unknown" if truth is None else f"true class: {truth}"]
    rows = [row(record, columns, heading=_heading(record)) for record in shown]
    return draw_sheet(path, rows, title=title, signs=signs(shown))


def row(record: Explained, columns: Sequence[Column], *, heading: str) -> Row:
    """Return a record as a row of tiles under these columns, the input first."""
    maps = placed(record)
    first = Tile(picture=record.picture, lines=["input"])
    tiles = [tile(record, maps[column], column) if column in maps else None for column in columns]
    return Row(heading=heading, ok=record.correct, tiles=[first, *tiles])


def tile(record: Explained, seen: Seen, column: Column) -> Tile:
    """Draw a map over the picture of its record."""
    words = [said(seen.asked)] if seen.asked else []
    lines = [column.method, *([column.layer] if column.layer else []), *words]
    if seen.map is None:
        return Tile(picture=None, lines=lines, instead=seen.problem or "no map")
    drawn, note = overlay(record.picture, seen.map, signed=seen.signed)
    return Tile(picture=drawn, lines=[*lines, *([note] if note else [])])


def _heading(record: Explained) -> str:
    """Name the model and what it predicts."""
    right = {True: "right", False: "wrong", None: ""}[record.correct]
    said_so = f"{record.model}: predicted {said(record.predicted)}"
    return f"{said_so} – {right}" if right else said_so
