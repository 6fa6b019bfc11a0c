"""Compare on the same test images: refuse different ones, test the differences of all others."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fovea.compare.grouping import Row
from fovea.metrics.significance import holm, mcnemar, paired_bootstrap, t_interval, wilson
from fovea.runs.read import Run

ALPHA = 0.05
DRAWS = 10_000  # of the bootstrap


@dataclass(frozen=True)
class Tested:
    """What one run did on its test images, in the order of their names."""

    ids: np.ndarray  # (N,) str
    target: np.ndarray  # (N, …) what is true
    values: np.ndarray  # (N,) one number per image, whose mean is the metric of the comparison
    extra: Any = None  # what the task's own part needs

    @property
    def digests(self) -> tuple[str, str]:
        """Fingerprints of the names and of what is true."""
        names = "\n".join(map(str, self.ids)).encode("utf-8", "surrogatepass")
        target = np.ascontiguousarray(self.target)
        return hashlib.sha256(names).hexdigest()[:12], hashlib.sha256(target.tobytes()).hexdigest()[:12]


@dataclass(frozen=True)
class Verdict:
    """How a row differs from the baseline on the same test images."""

    name: str
    difference: float
    low: float
    high: float
    p: float
    method: str
    adjusted: float = math.nan  # p after Holm's correction
    detail: str = ""
    bound: bool = False  # p is as small as the number of bootstrap draws allows: it may be smaller

    @property
    def chance(self) -> str:
        """The corrected p as text."""
        return chance(self.adjusted, bound=self.bound)

    def words(self, base: str = "") -> str:
        """Say what the difference means; without `base`, where a heading names it."""
        if self.adjusted >= ALPHA:
            return f"no clear difference{base and f' from {base}'} (p {self.chance})"
        better = "better" if self.difference > 0 else "worse"
        return f"{better}{base and f' than {base}'} (p {self.chance})"


def chance(p: float, *, bound: bool = False) -> str:
    """Write what p is: `< 0.001`, `= 0.012`; `≤ 0.012` where that is only a bound."""
    sign = "≤" if bound else "="
    return "< 0.001" if p < 0.001 else f"{sign} {p:.3f}" if p < 0.1 else f"{sign} {p:.2f}"


def identity(run: Run, tested: Tested | None) -> dict[str, Any]:
    """Return what a test set is known by; what a run does not tell is left out."""
    data = run.section("data")
    found = {"data set": data.get("name"), "source": data.get("source"), "test images": data.get("num_test")}
    if tested is not None:
        names, targets = tested.digests
        found |= {"test images": len(tested.ids), "names of the images": names, "true answers": targets}
    return {key: value for key, value in found.items() if value is not None}


def different_tests(pairs: Sequence[tuple[Run, Tested | None]]) -> str | None:
    """Name the first two runs whose test sets differ, and how; None where all agree."""
    known: dict[str, tuple[Run, Any]] = {}
    for run, tested in pairs:
        found = identity(run, tested)
        for key, value in found.items():
            other, before = known.setdefault(key, (run, value))
            if before != value:
                said = "differ" if key in ("names of the images", "true answers") else f"{before} / {value}"
                return f"{other.dir} and {run.dir} were not tested on the same images: {key}: {said}"
    return None


def interval(row: Row, metric: str, *, paired: bool) -> tuple[float, float, str]:
    """Return a 95 % interval and what it covers: the seeds where there are several, else the test images."""
    values = row.values(metric)
    if len(values) > 1:
        return (*t_interval(values), "seeds")
    if paired and len(values) == 1 and len(row.tested) == 1:
        scores = row.tested[0].values
        if np.isin(scores, (0.0, 1.0)).all():
            return (*wilson(int(scores.sum()), len(scores)), "images")
        return (*t_interval(scores), "images")
    return math.nan, math.nan, ""


def verdicts(rows: Sequence[Row], base: Row) -> list[Verdict]:
    """Test every row that has predictions against the baseline, with Holm's correction."""
    others = [row for row in rows if row is not base and row.tested]
    if not base.tested:
        return []
    found = [_verdict(row, base) for row in others]
    adjusted = holm([one.p for one in found])
    return [Verdict(**{**vars(one), "adjusted": p}) for one, p in zip(found, adjusted, strict=True)]


def _verdict(row: Row, base: Row) -> Verdict:
    ours, theirs = ([tested.values for tested in r.tested] for r in (row, base))
    gaps = np.mean(ours, axis=0) - np.mean(theirs, axis=0)
    low, high, p = paired_bootstrap(gaps, draws=DRAWS)
    single, bound = len(ours) == len(theirs) == 1, p <= 2 / (DRAWS + 1)
    method, detail = "paired bootstrap", f"means over {len(ours)} and {len(theirs)} runs"
    if single and np.isin(np.concatenate([*ours, *theirs]), (0.0, 1.0)).all():
        gained, lost = int((gaps > 0).sum()), int((gaps < 0).sum())
        p, method, detail = mcnemar(gained, lost), "McNemar, exact", f"{gained} won, {lost} lost"
        bound = False
    return Verdict(row.name, float(gaps.mean()), low, high, p, method, detail=detail, bound=bound)


def signed(value: float) -> str:
    """Write a difference with its sign."""
    return ("+" if value >= 0 else "−") + f"{abs(value):.{4 if abs(value) < 100 else 1}f}"
