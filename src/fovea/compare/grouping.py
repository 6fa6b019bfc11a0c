"""Gather runs into the rows of a comparison and give every row a name."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fovea.compare.settings import (
    Settings,
    has,
    recipe,
    seed_of,
    setting,
    settings,
    shown,
    text,
    varying,
    without_copies,
)
from fovea.page.formats import is_number
from fovea.runs.read import Run

if TYPE_CHECKING:
    from fovea.compare.verdicts import Tested

NAMED_BY = 4  # settings in a name at most


@dataclass
class Row:
    """Runs that count as one model: by default those that differ only in the seed."""

    name: str
    runs: list[Run]
    tested: list[Tested] = field(default_factory=list)  # of the runs that kept predictions, in their order
    cost: dict[str, Any] = field(default_factory=dict)  # what the comparison itself measured

    def values(self, metric: str) -> list[float]:
        """Return a metric of every run that has it."""
        found = [run.section("metrics").get(metric) for run in self.runs]
        return [float(value) for value in found if is_number(value) and math.isfinite(value)]

    def mean(self, metric: str) -> float:
        """Return the mean over the runs, NaN where none has it."""
        return _mean(self.values(metric))

    def std(self, metric: str) -> float:
        """Return the sample standard deviation over the runs, NaN for fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else math.nan

    def fact(self, of: Callable[[Run], Any]) -> float:
        """Return the mean of any number of the runs."""
        found = [of(run) for run in self.runs]
        return _mean([float(x) for x in found if is_number(x) and math.isfinite(x)])


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def gather(runs: Sequence[Run], *, by: Sequence[str] = ()) -> tuple[list[Row], list[tuple[Run, str]]]:
    """Group runs by everything but the seed, or by the settings `by`; return also the repetitions left out.

    Raises:
        ValueError: no run has a key of `by`.
    """
    for key in by:
        if not any(has(run, key) for run in runs):
            raise ValueError(f"no run has the setting {key!r}: group_by takes config keys such as model.name")
    seeds = [seed_of(run) for run in runs]
    alike = [text(one) for one in without_copies([settings(run) for run in runs], seeds, named="seed")]
    kept, again = _newest(runs, [(a, text(s)) for a, s in zip(alike, seeds, strict=True)])
    groups: dict[str, list[int]] = {}
    for i in kept:
        key = text([setting(runs[i], k) for k in by]) if by else alike[i]
        groups.setdefault(key, []).append(i)
    ordered = [sorted(group, key=lambda i: (text(seeds[i]), str(runs[i].dir))) for group in groups.values()]
    rows = [Row("", [runs[i] for i in group]) for group in ordered]
    names = _names_by(rows, by) if by else names_of(rows)
    for row, name in zip(rows, _unique(names), strict=True):
        row.name = name
    return rows, again


def _newest(runs: Sequence[Run], keys: Sequence[Any]) -> tuple[list[int], list[tuple[Run, str]]]:
    """Keep one of the runs with the same settings and seed: a repetition is no further evidence."""
    last: dict[Any, int] = {}
    for i in sorted(range(len(runs)), key=lambda i: runs[i].started):
        last[keys[i]] = i
    again = [(runs[i], f"same settings and seed as {runs[last[k]].dir}, which is newer")
             for i, k in enumerate(keys) if last[k] != i]  # fmt: skip
    return sorted(last.values()), again


def names_of(rows: Sequence[Row]) -> list[str]:
    """Name rows after their model, and after what tells rows with the same model apart."""
    names = [""] * len(rows)
    families: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        run = row.runs[0]
        model = run.section("model").get("name") or setting(run, "model.name")
        families.setdefault(str(model or run.experiment), []).append(i)
    for model, members in families.items():
        for i, more in zip(members, _differences([rows[i].runs[0] for i in members]), strict=True):
            names[i] = ", ".join([model, *more])
    return names


def _differences(runs: Sequence[Run]) -> list[list[str]]:
    """Say in as few settings as possible how runs differ: first by what was asked for, then by the rest."""
    if len(runs) == 1:
        return [[]]
    asked = dict.fromkeys(key for run in runs for key in recipe(run))
    rest = without_copies([settings(run) for run in runs], [seed_of(run) for run in runs], named="seed")
    every: list[Settings] = [
        {key: setting(run, key) for key in asked} | {"experiment": run.experiment} | one
        for run, one in zip(runs, rest, strict=True)
    ]
    candidates = [key for key in [*asked, "experiment", *varying(every)] if key in varying(every)]
    keys: list[str] = []
    for key in dict.fromkeys(candidates):
        parts = len({text([one.get(k) for k in keys]) for one in every})
        if parts == len(runs) or len(keys) == NAMED_BY:
            break
        if len({text([one.get(k) for k in (*keys, key)]) for one in every}) > parts:
            keys.append(key)
    short = dict(zip(keys, _short(keys), strict=True))
    return [[_pair(short[k], one.get(k)) for k in keys if one.get(k) is not None] for one in every]


def _pair(key: str, value: Any) -> str:
    return shown(value) if key in ("experiment", "name") else f"{key}={shown(value)}"


def _names_by(rows: Sequence[Row], by: Sequence[str]) -> list[str]:
    pairs = list(zip(by, _short(by), strict=True))
    return [", ".join(_pair(short, setting(row.runs[0], key)) for key, short in pairs) for row in rows]


def _short(keys: Sequence[str]) -> list[str]:
    """Leave of every key its last word where that is clear; a `_target_` is known by what it is of."""
    ends = [key.removesuffix("._target_").rsplit(".", 1)[-1] for key in keys]
    count = Counter(ends)
    return [end if count[end] == 1 else key for end, key in zip(ends, keys, strict=True)]


def _unique(names: Sequence[str]) -> list[str]:
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return found


def choose(rows: Sequence[Row], name: str) -> Row:
    """Return the row of this name, or the only one whose name begins with it or holds it, or has that run.

    Raises:
        ValueError: no such row, or several.
    """
    tests: list[Callable[[Row], bool]] = [
        lambda row: row.name == name,
        lambda row: any(str(run.dir) == name.rstrip("/") for run in row.runs),
        lambda row: any(run.experiment == name for run in row.runs),
        lambda row: row.name.startswith(name),
        lambda row: name in row.name,
    ]
    for fits in tests:
        found = [row for row in rows if fits(row)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"baseline={name} fits several rows: {'; '.join(row.name for row in found)}")
    raise ValueError(f"baseline={name} is no row; the rows are: {'; '.join(row.name for row in rows)}")
