"""Read who is female and who is male in the Labeled Faces in the Wild."""

from __future__ import annotations

import math
from pathlib import Path

LISTS = ("female_names.txt", "male_names.txt")
SCORES = "lfw_attributes.txt"


def label_files(folder: Path) -> list[Path]:
    """Return the files of the labels, existing or not: the lists where one is there, else the scores."""
    lists = [folder / name for name in LISTS]
    return lists if any(path.is_file() for path in lists) else [folder / SCORES]


def read_genders(folder: Path) -> dict[str, int]:
    """Map image names without suffix to 0 = female or 1 = male, from the lists or else from the scores."""
    paths = label_files(folder)
    return _read_lists(paths) if len(paths) > 1 else _read_scores(paths[0])


def _read_lists(paths: list[Path]) -> dict[str, int]:
    genders: dict[str, int] = {}
    for gender, path in enumerate(paths):
        for line in _lines(path):
            name = line.strip().rsplit("/", 1)[-1].removesuffix(".jpg")
            if name and genders.setdefault(name, gender) != gender:
                raise ValueError(f"{name} is in both {paths[0]} and {path.name}: remove it from one")
    return genders


def _read_scores(path: Path) -> dict[str, int]:
    """Read lines of person, image number and real-valued scores, separated by tabs; Male > 0 is male."""
    genders: dict[str, int] = {}
    column = None
    for number, line in enumerate(_lines(path), start=1):
        cells = [cell.strip("# \r") for cell in line.split("\t")]
        if line.startswith("#") and "person" in cells and "Male" in cells:
            column = cells.index("Male") - cells.index("person")
        if line.startswith("#") or not line.strip():
            continue
        if column is None:
            raise ValueError(
                f"{path} lacks the line `#<TAB>person<TAB>imagenum<TAB>Male…` before line {number}"
            )
        try:
            name, gender = f"{cells[0].replace(' ', '_')}_{int(cells[1]):04d}", _gender(cells[column])
        except (IndexError, ValueError) as error:
            raise ValueError(
                f"{path} line {number} has no person, number and score: {line[:80]!r}"
            ) from error
        if genders.setdefault(name, gender) != gender:
            raise ValueError(f"{path} line {number} contradicts an earlier line about {name}")
    return genders


def _gender(score: str) -> int:
    if not math.isfinite(float(score)):
        raise ValueError("the score is not finite")
    return int(float(score) > 0)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
