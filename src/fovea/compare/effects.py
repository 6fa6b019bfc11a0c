"""Find the effects of settings: runs that differ in one setting, and in nothing else but the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fovea.compare.settings import (
    Settings,
    comparable,
    drop_copies,
    drop_seed_copies,
    format_setting,
    has_setting,
    overrides,
    setting,
    varying,
)
from fovea.page.formats import is_number
from fovea.runs.read import Run


@dataclass(frozen=True)
class Effect:
    """A metric against one setting; each line holds runs that differ in that setting and the seed alone."""

    key: str
    lines: list[tuple[str, list[tuple[Any, float]]]]  # (what the runs share, [(setting, metric)])
    pure: bool  # False: other settings vary as well, so there are points and no lines

    @cached_property
    def values(self) -> list[Any]:
        """The distinct settings, numbers by size, others as they came."""
        found = {comparable(value): value for _, points in self.lines for value, _ in points}
        numbers = [value for value in found.values() if is_number(value)]
        rest = [value for value in found.values() if not is_number(value)]
        return sorted(numbers) + rest

    @cached_property
    def numeric(self) -> bool:
        """Whether the settings lie on an axis."""
        return all(is_number(value) for value in self.values)

    @property
    def logarithmic(self) -> bool:
        """Whether the settings need a logarithmic axis, as learning rates do; zero is allowed."""
        positive = [value for value in self.values if value] if self.numeric else []
        return len(positive) > 1 and min(positive) > 0 and max(positive) >= 8 * min(positive)


def effects(runs: Sequence[Run], metric: str) -> list[Effect]:
    """Return the effect of every setting that the runs were given in more than one value."""
    measured = [run for run in runs if is_number(run.section("metrics").get(metric))]
    given = dict.fromkeys(key for run in measured for key in overrides(run))
    found = [effect(measured, key, metric) for key in given]
    return [one for one in found if one is not None]


def effect(runs: Sequence[Run], key: str, metric: str) -> Effect | None:
    """Return the effect of one setting; None where it did not vary, or only from one model to another."""
    runs = [run for run in runs if has_setting(run, key)]
    values = [setting(run, key) for run in runs]
    points = [(value, float(run.section("metrics")[metric])) for run, value in zip(runs, values, strict=True)]
    rest = _rest(runs, key, values)
    if alike := _varied(values, [comparable(one) for one in rest]):
        titles = _titles([rest[group[0]] for group in alike], [runs[group[0]] for group in alike])
        return Effect(key, [(t, [points[i] for i in g]) for t, g in zip(titles, alike, strict=True)], True)
    of_sweeps = _varied(values, [_sweep(run) for run in runs])
    lines = [(runs[group[0]].dir.parent.name, [points[i] for i in group]) for group in of_sweeps]
    return Effect(key, lines, False) if lines else None


def _varied(values: Sequence[Any], keys: Sequence[str | None]) -> list[list[int]]:
    """Group positions by key, without those of None, and keep the groups in which the value varies."""
    groups: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(i)
    return [group for group in groups.values() if len({comparable(values[i]) for i in group}) > 1]


def _sweep(run: Run) -> str | None:
    """Return the directory of the sweep that a run is a job of."""
    return str(run.dir.parent) if (run.dir / "overrides.yaml").is_file() else None


def _rest(runs: Sequence[Run], key: str, values: Sequence[Any]) -> list[Settings]:
    """Return everything but the setting; beside a group's choice, which changes many keys, the overrides."""
    if key == "experiment" or any(isinstance(run.config.get(key), dict) for run in runs):
        own = [{k: v for k, v in overrides(run).items() if k != key} for run in runs]
        return [one | {"sweep": str(run.dir.parent)} for one, run in zip(own, runs, strict=True)]
    found = drop_copies(drop_seed_copies(runs), values)
    return [{k: v for k, v in one.items() if k != key} for one in found]


def _titles(rests: Sequence[Settings], runs: Sequence[Run]) -> list[str]:
    """Name lines by what distinguishes them."""
    if len(rests) == 1:
        return [""]
    models = [str(run.section("model").get("name") or run.experiment) for run in runs]
    given = {key for run in runs for key in overrides(run)}
    keys = [key for key in varying(rests) if key in given and not key.startswith("model.")][:2]
    more = [[f"{k.rsplit('.', 1)[-1]}={format_setting(one.get(k))}" for k in keys] for one in rests]
    several = len(set(models)) > 1
    return [", ".join(([m] if several else []) + pairs) for m, pairs in zip(models, more, strict=True)]
