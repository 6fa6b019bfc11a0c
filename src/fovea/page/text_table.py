"""Format a table as aligned text for a terminal or a log file."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from fovea.page.formats import MISSING, metric, numeric


def text_table(rows: Sequence[Sequence[Any]], headers: Sequence[str] = (), *, align: str = "") -> str:
    """Align columns two spaces apart, numbers to the right; `align` overrides with `l` or `r` per column.

    Raises:
        ValueError: rows of different lengths.
    """
    body = [[_plain(cell) for cell in row] for row in rows]
    lines = ([list(headers)] if headers else []) + body
    if len({len(line) for line in lines}) > 1:
        raise ValueError(f"rows have different lengths: {sorted({len(line) for line in lines})}")
    if not lines:
        return ""
    columns = range(len(lines[0]))
    align = align or "".join("r" if numeric([row[column] for row in rows]) else "l" for column in columns)
    widths = [max(_width(line[column]) for line in lines) for column in columns]
    if headers:
        lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(map(_pad, line, widths, align)).rstrip() for line in lines)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return metric(value)
    return MISSING if value is None else " ".join(str(value).split())


def _width(text: str) -> int:
    """Count terminal cells: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _pad(text: str, width: int, align: str) -> str:
    space = " " * (width - _width(text))
    return space + text if align == "r" else text + space
