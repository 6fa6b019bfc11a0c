"""Gather the lines of a CSV table that are about the same image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fovea.data.formats.table_rows import ParsedTable, TableRow

SHOWN = 10  # class names in a message


@dataclass(slots=True)
class Listed:
    """One image with all that its lines say."""

    path: str
    line: int  # the first of them
    split: str | None
    mask: str | None
    labels: list[int] = field(default_factory=list)  # of the boxes, or of the image
    boxes: list[tuple[float, ...]] = field(default_factory=list)
    box_lines: list[int] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)


def label_names(table: ParsedTable, classes: Sequence[str] | None) -> list[str]:
    """Return the class names: those given, or the sorted labels of all splits."""
    if classes is not None:
        names = [str(name) for name in classes]
        if len(set(names)) != len(names) or not all(names):
            raise ValueError(f"data.dataset.classes={names} must be distinct names")
        return names
    if table.columns.mask:
        raise ValueError(
            f"{table.file} has masks: set data.dataset.classes to the names of their values, from 0 on "
            f"(classes[k] names the value k)"
        )
    return sorted({row.label for row in table.rows if row.label is not None})


def collect(table: ParsedTable, classes: Sequence[str]) -> tuple[list[Listed], list[str]]:
    """Return the images in the order of the table, and which lines do not go together.

    Of equal lines the first counts; images with lines that contradict each other are left out.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    images: dict[str, Listed] = {}
    seen: dict[tuple[object, ...], int] = {}
    folder = os.path.abspath(table.file.parent)  # so that a relative and an absolute path are one image
    wrong: list[str] = []
    bad: set[str] = set()
    for row in table.rows:
        key = os.path.normpath(os.path.join(folder, row.path.replace("\\", "/")))
        image = images.setdefault(key, Listed(row.path, row.line, row.split, row.mask))
        first = seen.setdefault((key, row.label, row.box, row.captions), row.line)
        try:
            if image.line != row.line:
                _check_same(image, row, table)
            if first != row.line:
                wrong.append(f"{table.file}, lines {first} and {row.line} are equal ({row.path}): remove one")
            else:
                _add(image, row, table, numbers)
        except ValueError as error:
            bad.add(key)
            wrong.append(str(error))
    for key, image in images.items():
        if key not in bad and (text := _incomplete(image, table)):
            bad.add(key)
            wrong.append(text)
    return [image for key, image in images.items() if key not in bad], wrong


def _check_same(image: Listed, row: TableRow, table: ParsedTable) -> None:
    """Raise ValueError where a further line of an image contradicts the first."""
    where = f"{table.file}, lines {image.line} and {row.line}"
    if not table.columns.boxes and not table.columns.captions:
        raise ValueError(f"{where} are both about {row.path}: one line per image, or add columns of boxes")
    if row.split != image.split:
        raise ValueError(f"{where} put {row.path} into {image.split} and {row.split}: an image has one split")
    if row.mask != image.mask:
        raise ValueError(
            f"{where} give {row.path} the masks {image.mask} and {row.mask}: an image has one mask"
        )
    if table.columns.boxes and not table.columns.captions and (row.box is None or not image.boxes):
        raise ValueError(
            f"{where}: one says that {row.path} has no object, the other that it has: remove one"
        )


def _add(image: Listed, row: TableRow, table: ParsedTable, numbers: dict[str, int]) -> None:
    image.captions += row.captions
    if row.label is None:
        return
    if row.label not in numbers:
        shown = ", ".join(list(numbers)[:SHOWN]) + (f", … ({len(numbers)})" if len(numbers) > SHOWN else "")
        raise ValueError(
            f"{table.file}, line {row.line} has the label {row.label!r}, not one of the classes {shown}: "
            f"correct it or add it to data.dataset.classes"
        )
    number = numbers[row.label]
    if row.box is not None:
        image.boxes.append(row.box)
        image.box_lines.append(row.line)
    elif image.labels and image.labels[0] != number:
        raise ValueError(
            f"{table.file}, lines {image.line} and {row.line} give {row.path} different labels: correct one"
        )
    if row.box is not None or not image.labels:
        image.labels.append(number)


def _incomplete(image: Listed, table: ParsedTable) -> str | None:
    """Return what the lines of an image lack."""
    for column, value in ((table.columns.mask, image.mask), (table.columns.captions, image.captions)):
        if column and not value:
            return (
                f"{table.file}, line {image.line} says nothing of {image.path} in the column {column!r}: "
                f"add it or remove the line"
            )
    return None


def find_file(name: str, *, folders: Sequence[Path], file: Path, line: int) -> str:
    """Return a path that the table names: relative to the first folder, or absolute; it must be there.

    Backslashes, as Windows writes them, are read as slashes where there is no such file.
    """
    for form in dict.fromkeys((name, name.replace("\\", "/"))):
        if os.path.isfile(folders[0] / form):
            return form
        for folder in folders[1:]:
            if os.path.isfile(folder / form):
                return os.path.abspath(folder / form)
    tried = " and ".join(dict.fromkeys(str(folder / name) for folder in folders))
    raise FileNotFoundError(f"{file}, line {line} names {name}, which is not there: looked for {tried}")
