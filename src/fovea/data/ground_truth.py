"""Find the true class of images: in a table, or in the names of their folders."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from fovea.errors import UsageError


def from_folders(paths: Sequence[Path], classes: Sequence[str], *, top: Path) -> dict[Path, int | None]:
    """Return the class that each image's nearest folder with a class's name gives, up to the folder `top`."""
    number = {name: i for i, name in enumerate(classes)}
    top = _absolute(top)
    found = {}
    for path in paths:
        folder = _absolute(path).parent
        while folder.name not in number and folder != top and top in folder.parents:
            folder = folder.parent
        found[path] = number.get(folder.name)
    return found


def from_table(table: Path, paths: Sequence[Path], classes: Sequence[str]) -> dict[Path, int | None]:
    """Return what a CSV with the columns path and label gives, None for images that it does not list.

    A path counts from the table's folder; else it is the end of an image's path that no other image has.
    """
    given = _read(table, {name: i for i, name in enumerate(classes)})
    images = {_absolute(path): path for path in paths}
    found: dict[Path, int | None] = dict.fromkeys(paths)
    for written, (line, label) in given.items():
        path = images.get(_absolute(table.parent / written))
        fits = [path] if path is not None else _ending_in(images, Path(written))
        if len(fits) > 1:
            raise UsageError(
                f"{table}, line {line}: {written!r} fits {len(fits)} images ({fits[0]}, {fits[1]}…); "
                "write more of their folders"
            )
        if fits and found[fits[0]] not in (None, label):
            raise UsageError(f"{table}, line {line}: {fits[0]} has another label on an earlier line")
        found.update(dict.fromkeys(fits, label))
    if all(label is None for label in found.values()):
        raise UsageError(
            f"{table} lists none of the {len(paths)} images (its first path: {next(iter(given))!r})"
        )
    return found


def _absolute(path: Path) -> Path:
    """Make a path comparable; a link stays one, because its own folder is what counts."""
    return Path(os.path.abspath(path))


def _ending_in(images: dict[Path, Path], end: Path) -> list[Path]:
    parts = end.parts
    return [path for whole, path in images.items() if parts and whole.parts[-len(parts) :] == parts]


def _read(table: Path, number: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Map each path of a table to its line and label."""
    if not table.is_file():
        raise UsageError(f"there is no truth={table}")
    found: dict[str, tuple[int, int]] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not {"path", "label"} <= set(rows.fieldnames or ()):
                raise UsageError(f"{table} needs a header with the columns path and label")
            for row in rows:
                if row["label"] not in number:
                    raise UsageError(
                        f"{table}, line {rows.line_num}: {row['label']!r} is not a class of this run "
                        f"({', '.join(number)})"
                    )
                found[row["path"]] = (rows.line_num, number[row["label"]])
    except UnicodeDecodeError as error:
        raise UsageError(f"{table} is not UTF-8 ({error}): save it as CSV UTF-8") from None
    except csv.Error as error:
        raise UsageError(f"{table} is not a CSV file ({error})") from None
    if not found:
        raise UsageError(f"{table} has no line below its header")
    return found
