"""Format numbers, durations and long text for a reader; a missing value is an en dash."""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeGuard

MISSING = "–"
MONTHS = "January February March April May June July August September October November December"


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a number (numpy's too); booleans are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def metric(value: Any) -> str:
    """Format a metric: four decimals, scientific notation for a tiny or huge one, `NaN` spelled out."""
    if not is_number(value):
        return MISSING if value is None else str(value)
    value = float(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"


def cell(value: Any) -> str:
    """Format a number in a table: whole ones with thousands separators, others as a metric."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else metric(value)


def numeric(values: Iterable[Any]) -> bool:
    """Return whether a column of a table holds only numbers and blanks."""
    known = [value for value in values if value is not None]
    return bool(known) and all(is_number(value) for value in known)


def counted(count: int, noun: str) -> str:
    """`1 image`, `1,200 images`, `2 boxes`."""
    ending = "es" if noun.endswith(("x", "s", "tch")) else "s"
    return f"{count:,} {noun}{'' if count == 1 else ending}"


def integer(value: Any) -> str:
    """Whole number with thousands separators."""
    if not is_number(value) or not math.isfinite(value):
        return MISSING
    return f"{round(value):,}"


def short_count(value: Any) -> str:
    """`11173962` → `11.2 M`."""
    if not is_number(value) or not math.isfinite(value):
        return MISSING
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.3g} {unit}"
    return integer(value)


def duration(seconds: Any) -> str:
    """`0.42 s`, `48.1 s`, `3 min 12 s`, `2 h 05 min`."""
    if not is_number(seconds) or not math.isfinite(seconds):
        return MISSING
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def megabytes(value: Any) -> str:
    """`512 MB`, `3.1 GB`; zero means that nothing was measured."""
    if not is_number(value) or not math.isfinite(value) or value <= 0:
        return MISSING
    return f"{value:.0f} MB" if value < 1024 else f"{value / 1024:.1f} GB"


def rate(value: Any) -> str:
    """Images per second."""
    if not is_number(value) or not math.isfinite(value):
        return MISSING
    return f"{integer(value) if value >= 100 else f'{value:.1f}'} images/s"


def date(moment: datetime) -> str:
    """`4 May 2026, 14:03`, whatever the locale."""
    return f"{moment.day} {MONTHS.split()[moment.month - 1]} {moment.year}, {moment:%H:%M}"


def shorten(text: str, *, width: int) -> str:
    """Keep the start of a long name and end it with `…`."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def middle(text: str, *, width: int) -> str:
    """Cut the middle of a long path: both the folder and the file name stay readable."""
    if len(text) <= width:
        return text
    tail = (width - 1) * 2 // 3
    return text[: width - 1 - tail] + "…" + text[len(text) - tail :]


def parameters(model: Mapping[str, Any]) -> str:
    """`11.2 M`, and how many of them are trained where not all are."""
    total, trained = model.get("params"), model.get("trainable_params")
    some = is_number(trained) and trained != total
    return short_count(total) + (f", {short_count(trained)} trained" if some else "")


def no_formula(cell: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would run as a formula: a name from elsewhere."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    with contextlib.suppress(ValueError):
        float(cell)
        return cell
    return f"'{cell}"
