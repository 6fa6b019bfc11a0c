"""Find which swept settings can be judged: runs that differ in nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fovea.compare.settings import (
    Settings,
    has,
    recipe,
    seed_of,
    setting,
    settings,
    shown,
    text,
    without_copies,
)
from fovea.page.formats import is_number
from fovea.runs.read import Run


@dataclass(frozen=True)
class Effect:
    """A metric against one setting; each line holds runs that differ in that setting and the seed alone."""

    key: str
    lines: list[tuple[str, list[tuple[Any, float]]]]  # (what the runs share, [(setting, metric)])
    pure: bool  # False: other settings vary as well, so there are points and no lines

    @property
    def values(self) -> list[Any]:
        """The distinct settings, numbers by size, others as they came."""
        found = {text(value): value for _, points in self.lines for value, _ in points}
        numbers = [value for value in found.values() if is_number(value)]
        rest = [value for value in found.values() if not is_number(value)]
        return sorted(numbers) + rest

    @property
    def numeric(self) -> bool:
        """Whether the settings lie on an axis."""
        return all(is_number(value) for value in self.values)

    @property
    def logarithmic(self) -> bool:
        """Whether they span so much that only ratios compare, as learning rates do; zero may be there."""
        positive = [value for value in self.values if value] if self.numeric else []
        return len(positive) > 1 and min(positive) > 0 and max(positive) >= 8 * min(positive)


def effects(runs: Sequence[Run], metric: str) -> list[Effect]:
    """Return the effect of every setting that the runs were given in more than one value."""
    measured = [run for run in runs if is_number(run.section("metrics").get(metric))]
    asked = dict.fromkeys(key for run in measured for key in recipe(run))
    found = [effect(measured, key, metric) for key in asked]
    return [one for one in found if one is not None]


def effect(runs: Sequence[Run], key: str, metric: str) -> Effect | None:
    """Return the effect of one setting; None where it did not vary, or only from one model to another."""
    runs = [run for run in runs if has(run, key)]
    values = [setting(run, key) for run in runs]
    if len({text(value) for value in values}) < 2:
        return None
    strata: dict[str, list[int]] = {}
    rest = _rest(runs, key, values)
    for i, one in enumerate(rest):
        strata.setdefault(text(one), []).append(i)
    pure = [members for members in strata.values() if len({text(values[i]) for i in members}) > 1]
    score = [float(run.section("metrics")[metric]) for run in runs]
    if pure:
        titles = _titles([rest[members[0]] for members in pure], [runs[m[0]] for m in pure])
        lines = [(t, [(values[i], score[i]) for i in m]) for t, m in zip(titles, pure, strict=True)]
        return Effect(key, lines, True)
    sweeps: dict[Any, list[int]] = {}
    for i, run in enumerate(runs):
        if (run.dir / "overrides.yaml").is_file():
            sweeps.setdefault(run.dir.parent, []).append(i)
    mixed = [m for m in sweeps.values() if len({text(values[i]) for i in m}) > 1]
    lines = [(runs[m[0]].dir.parent.name, [(values[i], score[i]) for i in m]) for m in mixed]
    return Effect(key, lines, False) if lines else None


def _rest(runs: Sequence[Run], key: str, values: Sequence[Any]) -> list[Settings]:
    """Return everything but the setting; beside a group's choice, which changes many keys, what was given."""
    if key == "experiment" or any(isinstance(run.config.get(key), dict) for run in runs):
        own = [{k: v for k, v in recipe(run).items() if k != key} for run in runs]
        return [one | {"sweep": str(run.dir.parent)} for one, run in zip(own, runs, strict=True)]
    seeds = [seed_of(run) for run in runs]
    found = without_copies(without_copies([settings(run) for run in runs], seeds, named="seed"), values)
    return [{k: v for k, v in one.items() if k != key} for one in found]


def _titles(rests: Sequence[Settings], runs: Sequence[Run]) -> list[str]:
    """Name lines by what tells them apart."""
    if len(rests) == 1:
        return [""]
    models = [str(run.section("model").get("name") or run.experiment) for run in runs]
    keys = [k for k in dict.fromkeys(k for one in rests for k in one)
            if len({text(one.get(k)) for one in rests}) > 1 and not k.startswith("model.")]  # fmt: skip
    asked = [k for k in keys if any(k in recipe(run) for run in runs)][:2]
    more = [[f"{k.rsplit('.', 1)[-1]}={shown(one.get(k))}" for k in asked] for one in rests]
    several = len(set(models)) > 1
    return [", ".join(([m] if several else []) + pairs) for m, pairs in zip(models, more, strict=True)]
