"""Write what was measured of a run as JSON, and as tables with a column for each split and checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fovea.metrics.significance import wilson
from fovea.page.formats import MISSING, metric
from fovea.page.text_table import text_table

if TYPE_CHECKING:
    import numpy as np

    from fovea.types import TaskView

LISTED = 40  # classes in the printed table; of more the weakest, and all are in the JSON
WEAKEST = 20


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The metrics of one split with one checkpoint; `arrays` are the scores of its images."""

    split: str
    checkpoint: Path
    data: Mapping[str, Any]
    metrics: Mapping[str, float]
    options: Mapping[str, Any]
    view: TaskView | None
    arrays: Mapping[str, np.ndarray]
    file: Path | None = None  # where it was written

    @property
    def correct(self) -> tuple[int, int] | None:
        """How many answers are right, of how many; None where they are not right or wrong."""
        if self.view is None or "correct" not in self.view.columns or not len(self.arrays.get("score", ())):
            return None
        return int(self.arrays["score"].sum()), len(self.arrays["score"])

    def per_class(self) -> list[dict[str, Any]]:
        """Return the line of each class."""
        return self.view.per_class(self.arrays) if self.view is not None and self.arrays else []

    def facts(self) -> dict[str, Any]:
        """Return what goes into the JSON file."""
        facts: dict[str, Any] = {
            "split": self.split, "checkpoint": str(self.checkpoint), **self.options, "data": dict(self.data),
            "metrics": {f"{self.split}/{name}": value for name, value in self.metrics.items()},
        }  # fmt: skip
        if self.correct is not None and self.view is not None:
            name = f"{self.split}/{self.view.score}"
            facts |= {"correct": self.correct[0], "interval": {name: list(wilson(*self.correct))}}
        return facts | ({"per_class": lines} if (lines := self.per_class()) else {})


def tables(found: Sequence[Measurement]) -> str:
    """Return the metrics and the scores of every class, then where all of it is."""
    places = dict.fromkeys([*(one.checkpoint for one in found), *(one.file for one in found if one.file)])
    parts = (_metrics(found), _classes(found), "\n".join(map(str, places)))
    return "\n\n".join(part for part in parts if part)


def _heads(found: Sequence[Measurement]) -> list[str]:
    """Head each column by its split, and by its checkpoint where there are several."""
    several = len({one.checkpoint for one in found}) > 1
    return [f"{one.split} {one.checkpoint.stem}" if several else one.split for one in found]


def _metrics(found: Sequence[Measurement]) -> str:
    rows: list[list[Any]] = [["images", *(one.data["num_images"] for one in found)]]
    for name in dict.fromkeys(name for one in found for name in one.metrics):
        rows.append([name, *(metric(one.metrics.get(name)) for one in found)])
        counts = [one.correct for one in found]
        if any(counts) and found[0].view is not None and name == found[0].view.score:
            rows.append(["  correct", *(MISSING if n is None else f"{n[0]} of {n[1]}" for n in counts)])
            bounds = [None if n is None else wilson(*n) for n in counts]
            rows.append(["  95 % interval", *(MISSING if b is None else _interval(b) for b in bounds)])
    return text_table(rows, ["", *_heads(found)], align="l" + "r" * len(found))


def _classes(found: Sequence[Measurement]) -> str:
    """Return a line for each class, with its interval where there is one column."""
    columns = [{line["class"]: line for line in one.per_class()} for one in found]
    names = list(dict.fromkeys(name for column in columns for name in column))
    if not names:
        return ""
    left_out = ""
    if len(names) > LISTED:
        left_out = f"\nthe {WEAKEST} weakest of {len(names)} classes; the JSON holds all"
        names = sorted(names, key=lambda name: _known(columns[0].get(name)))[:WEAKEST]
    rows: list[list[str]] = [[name, *(_score(column.get(name)) for column in columns)] for name in names]
    heads = ["class", *_heads(found)]
    if len(found) == 1 and "interval" in columns[0][names[0]]:
        heads.append("95 % interval")
        for row in rows:
            bounds = columns[0][row[0]]["interval"]
            row.append(MISSING if bounds is None else _interval(bounds))
    return text_table(rows, heads, align="l" + "r" * (len(heads) - 1)) + left_out


def _known(line: Mapping[str, Any] | None) -> float:
    score = math.nan if line is None else float(line["score"])
    return math.inf if math.isnan(score) else score


def _score(line: Mapping[str, Any] | None) -> str:
    if line is None or math.isnan(line["score"]):
        return MISSING
    counts = f"{line['correct']} of {line['images']}  " if "correct" in line else ""
    return f"{counts}{line['score']:.3f}"


def _interval(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}"
