"""Hold everything that a comparison shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fovea.compare.grouping import Row
from fovea.compare.tables import Column, columns
from fovea.compare.verdicts import Verdict
from fovea.page.blocks import Section
from fovea.page.formats import shorten


@dataclass
class Comparison:
    """Everything that is shown."""

    metric: str
    rows: list[Row]
    base: Row
    measure: str  # what the paired tests are about, such as test/acc; empty where there are none
    verdicts: list[Verdict]
    folder: Path
    command: str
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is missing, and why
    method: list[str] = field(default_factory=list)  # how things were measured
    table: tuple[str, list[str], list[list[Any]]] | None = None  # the task's own
    sections: list[Section] = field(default_factory=list)  # the task's own

    @property
    def columns(self) -> list[Column]:
        """The columns of the table."""
        paired, base = self.metric == self.measure, shorten(self.base.name, width=40)
        title = f"Difference to {base}" if paired else f"Difference in {self.measure} to {base}"
        return columns(self.metric, paired=paired, verdicts=self.verdicts, title=title)

    @property
    def best(self) -> Row | None:
        """The first row that has the metric: rows come in the order of it."""
        return next((row for row in self.rows if not math.isnan(row.mean(self.metric))), None)


def parameters(row: Row) -> float:
    """Return the number of parameters, NaN where no run recorded it."""
    return row.fact(lambda run: run.section("model").get("params"))
