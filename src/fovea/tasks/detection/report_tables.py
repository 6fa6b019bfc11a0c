"""Write the figures and tables of a detector's report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fovea.page.blocks import Block, Fold, Table
from fovea.page.formats import MISSING

SHORT = 20  # classes; a longer table is folded and its weakest rows shown


def figure(value: float) -> str:
    """Write a figure with three decimals, NaN as missing."""
    return MISSING if np.isnan(value) else f"{value:.3f}"


def short_table(
    heads: Sequence[str], rows: Sequence[Sequence[Any]], scores: np.ndarray, by: str, *, first: int = 0
) -> list[Block]:
    """Return a table with a line for each class; of many classes the weakest by `scores`, the rest folded.

    The `first` lines are not of a class and always shown.
    """
    align = "l" + "r" * (len(heads) - 1)
    if len(rows) - first <= SHORT:
        return [Table(heads, rows, align=align)]
    known = [k for k in np.argsort(scores, kind="stable") if not np.isnan(scores[k])]
    weakest = [*rows[:first], *(rows[first + k] for k in known[:10])]
    fold = Fold(f"All {len(rows) - first} classes", [Table(heads, rows, align=align)])
    return [Table(heads, weakest, f"The ten weakest by {by}", align), fold]
