"""Read the annotation files of COCO into a few arrays."""

from __future__ import annotations

import gc
import json
import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fovea.reading import read_bytes

# two levels of brackets for polygons, one of braces for run lengths; inside of a string the quote is escaped
_SEGMENTATION = re.compile(
    rb'"segmentation"\s*:\s*(\[[^\[\]{}"]*(?:\[[^\[\]{}"]*\][^\[\]{}"]*)*\]|\{[^{}]*\})(?=\s*[,}])'
)


def read_json(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Return a file with the number of its place in (M, 2) bytes instead of each segmentation.

    The outlines are most of a file, and most of the time to read it: they are read where they are used.
    """
    places: list[tuple[int, int]] = []

    def shorten(match: re.Match[bytes]) -> bytes:
        places.append(match.span(1))
        return b'"segmentation":%d' % (len(places) - 1)

    text = _SEGMENTATION.sub(shorten, read_bytes(path))
    collecting = gc.isenabled()
    gc.disable()  # it looks through the millions of new objects again and again: half of the time
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not readable as JSON ({_why(error)}): correct it or get it again"
        ) from error
    finally:
        if collecting:
            gc.enable()
    if not isinstance(document, dict):
        raise ValueError(
            f"{path} holds a {type(document).__name__}, expected an object with images and annotations: get "
            "it again, or move it away"
        )
    return document, np.array(places, dtype=np.int64).reshape(-1, 2)


def _why(error: Exception) -> str:
    """Return why a text is no JSON; of a long number Python only says how to allow it."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return "a number has thousands of digits" if "integer string conversion" in str(error) else str(error)


def column(rows: Sequence[Mapping[str, Any]], key: str, *, path: Path, what: str) -> list[Any]:
    """Return one key of all rows; ValueError names the file and the first row without it."""
    try:
        return [row[key] for row in rows]
    except (KeyError, TypeError):
        bad = next(i for i, row in enumerate(rows) if not isinstance(row, dict) or key not in row)
        raise ValueError(f"{path}: {what}[{bad}] has no {key!r}: delete the file and get it again") from None


def table(document: Mapping[str, Any], name: str, *, path: Path) -> list[dict[str, Any]]:
    """Return a list of the document; ValueError says which lists there are."""
    rows = document.get(name)
    if not isinstance(rows, list):
        there = ", ".join(key[:30] for key in sorted(document)[:8] if key.isprintable()) or "nothing"
        raise ValueError(f"{path} has no list {name!r}, only {there}: add it, or get the file again")
    return rows


def numbers(values: Sequence[Any], *, path: Path, what: str, width: int = 1) -> np.ndarray:
    """Return int64 (N,), or for a width above 1 float64 (N, width); ValueError names the first misfit."""
    try:
        return _array(values, width)
    except (ValueError, TypeError, OverflowError):
        at = next(k for k, value in enumerate(values) if not _fits(value, width))
        kind = f"{width} numbers" if width > 1 else "a whole number below 2^63"
        raise ValueError(f"{path} has the {what} {short(values[at])}, expected {kind}: correct it") from None


def _array(values: Sequence[Any], width: int) -> np.ndarray:
    if width == 1 and set(map(type, values)) != {int}:
        values = [_whole(value) for value in values]
    found = np.array(values, dtype=np.int64 if width == 1 else np.float64)
    if len(values) and found.shape[1:] != ((width,) if width > 1 else ()):
        raise ValueError
    return found.reshape(-1, width) if width > 1 else found


def _whole(value: Any) -> int:
    """Return a number without a fraction, also one in quotes; int() would cut fractions off."""
    number = int(value)
    if isinstance(value, bool) or (number != value and not isinstance(value, str)):
        raise ValueError
    return number


def _fits(value: Any, width: int) -> bool:
    try:
        _array([value], width)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def short(value: object) -> str:
    """Write a value of a file that may be of any length and depth, in a few words."""
    return reprlib.repr(value)


def positions(found: np.ndarray, known: np.ndarray, *, path: Path, what: str) -> np.ndarray:
    """Return where each number stands in `known`; ValueError names one that is not there, or known twice."""
    order = np.argsort(known, kind="stable")
    ranked = known[order]
    if (twice := np.flatnonzero(ranked[1:] == ranked[:-1])).size:
        raise ValueError(f"{path} has the {what} {ranked[twice[0]]} twice: remove one or get the file again")
    at = np.searchsorted(ranked, found)
    lost = (at == len(ranked)) if not len(ranked) else ranked[np.minimum(at, len(ranked) - 1)] != found
    if lost.any():
        raise ValueError(
            f"{path} has an annotation with the {what} {found[lost][0]}, which the file does not list: "
            "remove it, or add what it belongs to"
        )
    return order[at]


def group(owner: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the order that sorts rows by owner, and where the rows of each owner start."""
    counts = np.bincount(owner, minlength=count)
    return np.argsort(owner, kind="stable"), np.concatenate([[0], np.cumsum(counts)])
