"""The types that a comparison is made of, from the scores of one run to everything that is shown."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fovea.page.blocks import Section
from fovea.page.formats import is_number
from fovea.runs.read import Run
from fovea.types import Resampled

ALPHA = 0.05  # the level of significance
Pictures = Callable[[list[str]], dict[str, np.ndarray]]  # names of test images -> (H, W, C) uint8
TaskTable = tuple[str, list[str], list[list[Any]]]  # title, names of the columns, lines


@dataclass(frozen=True)
class PerImageScores:
    """The scores of one run on its test images, in the order of their names."""

    ids: np.ndarray  # (N,) str
    target: np.ndarray  # (N, …) ground truth
    values: np.ndarray  # (N,) one number per image, whose mean is the metric of the paired tests
    extra: Any = None  # what the task's own tables and sections need
    whole: Resampled | None = None  # the metric of the paired tests where it is no such mean

    @property
    def digests(self) -> tuple[str, str]:
        """Fingerprints of the names and of the ground truth."""
        names = "\n".join(map(str, self.ids)).encode("utf-8", "surrogatepass")
        target = np.ascontiguousarray(self.target)
        return hashlib.sha256(names).hexdigest()[:12], hashlib.sha256(target.tobytes()).hexdigest()[:12]


@dataclass(frozen=True)
class ModelGroup:
    """Runs that count as one model: by default those that differ only in the seed."""

    name: str  # no other group of the comparison has it
    runs: Sequence[Run]
    scores: Sequence[PerImageScores] = ()  # of the runs that kept predictions, in their order

    def values(self, metric: str) -> list[float]:
        """Return a metric of every run that has it."""
        return _numbers(run.section("metrics").get(metric) for run in self.runs)

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the runs, NaN where none has it."""
        return _mean(self.values(metric))

    def std(self, metric: str) -> float:
        """Return the sample standard deviation over the runs, NaN for fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else math.nan

    def mean_of(self, fact: Callable[[Run], Any]) -> float:
        """Return the mean of any number that runs recorded, NaN where none did."""
        return _mean(_numbers(map(fact, self.runs)))


def _numbers(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if is_number(value) and math.isfinite(value)]


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


@dataclass(frozen=True)
class PairedTest:
    """A test of the difference between a model and the baseline on the same test images."""

    name: str
    difference: float
    low: float
    high: float
    p: float
    method: str
    adjusted: float = math.nan  # p after Holm's correction
    detail: str = ""
    covers: str = "images"  # the variation: of images, or of images and seeds
    draws: int = 0  # of the bootstrap
    bound: bool = False  # p is as small as the number of bootstrap draws allows: it may be smaller

    @property
    def p_text(self) -> str:
        """The corrected p as text."""
        return format_p(self.adjusted, bound=self.bound)

    @property
    def scope(self) -> str:
        """Say what the test covers."""
        if self.covers == "images":
            return "on these images, for these runs: the variation between seeds is not covered"
        return f"over {self.covers}"

    def words(self, base: str = "") -> str:
        """Describe the difference; without `base`, where a heading names it."""
        if self.adjusted >= ALPHA:
            return f"no significant difference{base and f' from {base}'} ({self.p_text})"
        better = "better" if self.difference > 0 else "worse"
        return f"{better}{base and f' than {base}'} ({self.p_text})"


def format_p(p: float, *, bound: bool = False) -> str:
    """Format p: `p < 0.001`, `p = 0.012`; `p ≤ 0.012` where that is only a bound."""
    if p < 0.001:
        return "p < 0.001"
    return f"p {'≤' if bound else '='} {p:.{3 if p < 0.1 else 2}f}"


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison: everything that the tables and the page show."""

    metric: str
    groups: Sequence[ModelGroup]  # in the order of the metric
    base: ModelGroup
    measure: str  # what the paired tests are about, such as test/acc; empty where there are none
    tests: Sequence[PairedTest]
    folder: Path
    command: str
    cost: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by name of the group
    left_out: Sequence[tuple[str, str]] = ()  # directories, and why
    notes: Sequence[str] = ()  # what is missing, and why
    method: Sequence[str] = ()  # how things were measured
    table: TaskTable | None = None  # the task's own
    sections: Sequence[Section] = ()  # the task's own

    def cost_of(self, group: ModelGroup, key: str) -> float:
        """Return what was measured of a group's network, NaN where it was not."""
        return self.cost.get(group.name, {}).get(key, math.nan)
