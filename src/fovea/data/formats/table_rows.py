"""Read a CSV table of images line by line, and say which line is wrong."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fovea.data.formats.listing import ALIASES
from fovea.data.formats.named_files import check_name
from fovea.reading import read_bytes

DELIMITERS = (",", ";", "\t", "|")
LISTED = 50  # wrong lines in a message
LONGEST = 1 << 20  # characters of one cell


class Columns(NamedTuple):
    """The names of the columns; one that the table lacks is not used, but `path` must be there."""

    path: str = "path"
    label: str | None = "label"
    split: str | None = "split"
    boxes: tuple[str, ...] = ("x1", "y1", "x2", "y2")
    mask: str | None = "mask"
    captions: tuple[str, ...] = ("caption",)


class TableRow(NamedTuple):
    """What one line says; None where the table has no such column or the cell is empty."""

    line: int
    path: str
    label: str | None
    split: str | None
    box: tuple[float, ...] | None
    mask: str | None
    captions: tuple[str, ...]


class ParsedTable(NamedTuple):
    """The lines of a file, and which of the columns it has (the others are None or empty)."""

    file: Path
    columns: Columns
    rows: list[TableRow]
    wrong: list[str]  # what is wrong with the other lines


class WrongLines(ValueError):
    """Lines of a table that cannot be used; `lines` says of each what is wrong, the message of the first."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = list(lines)
        more = [f"… and {len(lines) - LISTED} more lines"] if len(lines) > LISTED else []
        skip = ["(data.on_error=skip leaves these lines out)"] if len(lines) > 1 else []
        super().__init__("\n".join([*self.lines[:LISTED], *more, *skip]))


class MissingFiles(WrongLines, FileNotFoundError):
    """Lines of a table that name files which are not there."""


def read_table(file: Path, columns: Columns, *, flat: bool = False) -> ParsedTable:
    """Read a table: any of , ; tab and | between the cells, UTF-8 with or without BOM, any line ends.

    A line with a box that has no area is wrong, unless `flat` ones are wanted.
    """
    try:
        text = read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{file}, line {line} is not UTF-8: save the table as UTF-8") from error
    header_line = re.split("[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    delimiter = _find_delimiter(header_line, columns.path)
    csv.field_size_limit(max(LONGEST, csv.field_size_limit()))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise ValueError(f"{file}, line {reader.line_num} cannot be read ({error}): correct it") from error
    if len(lines) < 2:
        raise ValueError(f"{file} has no line below the header: expected a header and one line per image")
    header = [name.strip() for name in lines[0][1]]
    used = _match(header, columns, file)
    rows, wrong = _rows(lines[1:], header, used, file, flat)
    if not rows:
        raise WrongLines(wrong)
    _refuse_fractions(rows, file)
    return ParsedTable(file, used, rows, wrong)


def _find_delimiter(header: str, path: str) -> str:
    """Return the delimiter for which the header has the column of the paths, else the one that cuts most."""
    cut = {
        mark: [name.strip() for name in next(csv.reader([header], delimiter=mark), [])] for mark in DELIMITERS
    }
    return max(DELIMITERS, key=lambda mark: (path in cut[mark], len(cut[mark])))


def _match(header: list[str], columns: Columns, file: Path) -> Columns:
    """Return the columns that the table has; ValueError says which there are if they do not do."""
    there = f"there are {', '.join(repr(name) for name in header)}"
    _check_header(header, columns, file, there)
    label, split, mask = (
        name if name in header else None for name in (columns.label, columns.split, columns.mask)
    )
    boxes = columns.boxes if set(columns.boxes) & set(header) else ()
    captions = tuple(name for name in columns.captions if name in header)
    if boxes and not label:
        raise ValueError(f"{file} has boxes but no column {columns.label!r}; {there}: name their classes")
    if not (label or mask or captions):
        raise ValueError(
            f"{file} has neither labels, masks nor captions; {there}: set data.dataset.label_column, "
            f"mask_column or caption_columns"
        )
    return Columns(columns.path, label, split, boxes, mask, captions)


def _check_header(header: list[str], columns: Columns, file: Path, there: str) -> None:
    for name in header:
        if header.count(name) > 1:
            raise ValueError(f"{file} has two columns {name!r}: rename one of them")
    _check_spelling(header, columns, file)
    if columns.path not in header:
        raise ValueError(
            f"{file} has no column {columns.path!r} for the images; {there}: "
            f"set data.dataset.path_column to one of them"
        )
    boxes = [name for name in columns.boxes if name in header]
    if boxes and (len(boxes) != len(columns.boxes) or len(boxes) != 4):
        raise ValueError(
            f"{file} has the columns {', '.join(boxes)} of a box, expected {', '.join(columns.boxes)}; "
            f"{there}: set data.dataset.box_columns to left, top, right, bottom"
        )


def _check_spelling(header: list[str], columns: Columns, file: Path) -> None:
    """Raise ValueError where a column would be left unread for its case alone."""
    forms = {name.casefold(): name for name in header}
    for name in (columns.path, columns.label, columns.split, columns.mask, *columns.boxes, *columns.captions):
        found = forms.get(name.casefold()) if name else None
        if name not in header and found:
            raise ValueError(
                f"{file} has a column {found!r}, expected {name!r}: rename it to be read as that"
            )


def _rows(
    lines: Sequence[tuple[int, list[str]]], header: list[str], columns: Columns, file: Path, flat: bool
) -> tuple[list[TableRow], list[str]]:
    """Return the rows, and what is wrong with the lines that give none."""
    at = {name: number for number, name in enumerate(header)}
    rows, wrong = [], []
    for line, cells in lines:
        try:
            row = _row(line, [cell.strip() for cell in cells], at, columns, f"{file}, line {line}")
            if not flat:
                _check_area(row.box, columns.boxes, f"{file}, line {line}")
            rows.append(row)
        except ValueError as error:
            wrong.append(str(error))
    return rows, wrong


def _row(line: int, cells: list[str], at: Mapping[str, int], columns: Columns, where: str) -> TableRow:
    if len(cells) != len(at):
        raise ValueError(f"{where} has {len(cells)} cells, the header {len(at)}: correct it")
    box = _box([cells[at[name]] for name in columns.boxes], where)
    label = cells[at[columns.label]] if columns.label else None
    path = cells[at[columns.path]]
    if not path or "\0" in path:
        raise ValueError(f"{where} has no usable path in the column {columns.path!r}: correct it")
    if any(mark in (label or "") + path for mark in "\r\n"):
        raise ValueError(
            f"{where} ends a path or label that goes over several lines: a quote is not closed. Correct it"
        )
    if label:
        check_name(label, what=f"{columns.label} (column)", where=where)
    if label == "" and not (columns.boxes and box is None):
        raise ValueError(f"{where} has no label in the column {columns.label!r}: add it or remove the line")
    if label and columns.boxes and box is None:
        raise ValueError(f"{where} has the label {label!r} but no box: add it, or leave both empty")
    mask = (cells[at[columns.mask]] or None) if columns.mask else None
    captions = tuple(filter(None, (cells[at[name]] for name in columns.captions)))
    split = _split(cells[at[columns.split]], where) if columns.split else None
    return TableRow(line, path, label or None, split, box, mask, captions)


def _refuse_fractions(rows: Sequence[TableRow], file: Path) -> None:
    """Raise ValueError where no box reaches beyond the first pixel: they are shares of the sides."""
    boxes = [row.box for row in rows if row.box is not None and all(map(math.isfinite, row.box))]
    if boxes and max(map(max, boxes)) <= 1:
        raise ValueError(
            f"{file} has boxes between 0 and 1 alone, as shares of the sides: expected pixels. Multiply left "
            f"and right by the width of the image, top and bottom by its height"
        )


def _box(cells: list[str], where: str) -> tuple[float, ...] | None:
    if not any(cells):
        return None
    try:
        return tuple(float(cell) for cell in cells)
    except ValueError:
        raise ValueError(
            f"{where} has the box {', '.join(cells)!r}, expected 4 numbers: correct it"
        ) from None


def _check_area(box: tuple[float, ...] | None, names: tuple[str, ...], where: str) -> None:
    if box is None:
        return
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)) or x2 <= x1 or y2 <= y1:
        left, top, right, bottom = names
        raise ValueError(
            f"{where} has the box {', '.join(f'{value:g}' for value in box)}: {right} must be above {left}, "
            f"and {bottom} above {top}. Correct it, or set data.bad_boxes=drop"
        )


def _split(cell: str, where: str) -> str:
    if cell.lower() not in ALIASES:
        raise ValueError(f"{where} has the split {cell!r}: choose one of train, val, test")
    return ALIASES[cell.lower()]
