"""Gather runs into the models of a comparison and give every model a name."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fovea.compare.settings import (
    Settings,
    comparable,
    drop_seed_copies,
    format_setting,
    has_setting,
    overrides,
    seed_of,
    setting,
    varying,
)
from fovea.compare.types import ModelGroup, PerImageScores
from fovea.errors import UsageError
from fovea.runs.read import Run

NAMED_BY = 4  # settings in a name at most


def gather(
    runs: Sequence[Run], scores: Sequence[PerImageScores | None], *, by: Sequence[str] = ()
) -> tuple[list[ModelGroup], list[tuple[Run, str]]]:
    """Group runs by everything but the seed, or by the settings `by`; return also the repetitions left out.

    Args:
        runs: what to group.
        scores: those of each run, None where it kept no predictions.
        by: config keys.

    Raises:
        UsageError: no run has a key of `by`.
    """
    for key in by:
        if not any(has_setting(run, key) for run in runs):
            raise UsageError(f"no run has the setting {key!r}: group_by takes config keys such as model.name")
    seeds = [comparable(seed_of(run)) for run in runs]
    alike = [comparable(one) for one in drop_seed_copies(runs)]
    asked = [comparable([setting(run, key) for key in by]) for run in runs]
    kept, repeated = _newest(runs, list(zip(alike, seeds, asked, strict=True)))
    members: dict[str, list[int]] = {}
    for i in kept:
        members.setdefault(asked[i] if by else alike[i], []).append(i)
    ordered = [sorted(group, key=lambda i: (seeds[i], str(runs[i].dir))) for group in members.values()]
    first = [runs[group[0]] for group in ordered]
    names = _unique(_names_by(first, by) if by else [
        _given([runs[i] for i in group]) or name for group, name in zip(ordered, names_of(first), strict=True)
    ])  # fmt: skip
    groups = [
        ModelGroup(name, [runs[i] for i in group], [one for i in group if (one := scores[i]) is not None])
        for name, group in zip(names, ordered, strict=True)
    ]
    return groups, repeated


def _newest(runs: Sequence[Run], keys: Sequence[Any]) -> tuple[list[int], list[tuple[Run, str]]]:
    """Keep one of the runs with the same settings and seed: a repetition is no further evidence."""
    last: dict[Any, int] = {}
    for i in sorted(range(len(runs)), key=lambda i: runs[i].started):
        last[keys[i]] = i
    repeated = [(runs[i], f"same settings and seed as {runs[last[k]].dir}, which is newer")
                for i, k in enumerate(keys) if last[k] != i]  # fmt: skip
    return sorted(last.values()), repeated


def names_of(runs: Sequence[Run]) -> list[str]:
    """Name runs, one of each group, by their model, and by what distinguishes those with the same model."""
    names = [""] * len(runs)
    same_model: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        model = run.section("model").get("name") or setting(run, "model.name")
        same_model.setdefault(str(model or run.experiment), []).append(i)
    for model, members in same_model.items():
        for i, more in zip(members, _differences([runs[i] for i in members]), strict=True):
            names[i] = ", ".join([model, *more])
    return names


def _given(runs: Sequence[Run]) -> str | None:
    """Return the name that a user gave all runs of a group; None where there is no such one."""
    names = {run.given_name for run in runs}
    return names.pop() if len(names) == 1 else None


def _differences(runs: Sequence[Run]) -> list[list[str]]:
    """Describe in as few settings as possible how runs differ: first by their overrides, then by the rest."""
    if len(runs) == 1:
        return [[]]
    given = dict.fromkeys(key for run in runs for key in overrides(run))
    every: list[Settings] = [
        {key: setting(run, key) for key in given} | {"experiment": run.experiment} | rest
        for run, rest in zip(runs, drop_seed_copies(runs), strict=True)
    ]
    differ = varying(every)
    keys: list[str] = []
    for key in dict.fromkeys(key for key in [*given, "experiment", *differ] if key in differ):
        parts = len({comparable([one.get(k) for k in keys]) for one in every})
        if parts == len(runs) or len(keys) == NAMED_BY:
            break
        if len({comparable([one.get(k) for k in (*keys, key)]) for one in every}) > parts:
            keys.append(key)
    short = dict(zip(keys, _short(keys), strict=True))
    return [[_pair(short[k], one.get(k)) for k in keys if one.get(k) is not None] for one in every]


def _pair(key: str, value: Any) -> str:
    return format_setting(value) if key in ("experiment", "name") else f"{key}={format_setting(value)}"


def _names_by(runs: Sequence[Run], by: Sequence[str]) -> list[str]:
    pairs = list(zip(by, _short(by), strict=True))
    return [", ".join(_pair(short, setting(run, key)) for key, short in pairs) for run in runs]


def _short(keys: Sequence[str]) -> list[str]:
    """Leave of every key its last word where that is unambiguous; a `_target_` is known by what it is of."""
    ends = [key.removesuffix("._target_").rsplit(".", 1)[-1] for key in keys]
    count = Counter(ends)
    return [end if count[end] == 1 else key for end, key in zip(ends, keys, strict=True)]


def _unique(names: Sequence[str]) -> list[str]:
    """Number the second and later ones of the same name."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name} #{number}" for number in itertools.count(2))
        found.append(name if name not in found else next(one for one in numbered if one not in found))
    return found


def choose(groups: Sequence[ModelGroup], name: str) -> ModelGroup:
    """Return the group of this name, or with this run, or the only one whose name begins with it or holds it.

    Raises:
        ValueError: no such group, or several.
    """
    tests: list[Callable[[ModelGroup], bool]] = [
        lambda group: group.name == name,
        lambda group: any(str(run.dir) == name.rstrip("/") for run in group.runs),
        lambda group: any(run.experiment == name for run in group.runs),
        lambda group: group.name.startswith(name),
        lambda group: name in group.name,
    ]
    for fits in tests:
        found = [group for group in groups if fits(group)]
        if len(found) == 1:
            return found[0]
        if found:
            names = "; ".join(group.name for group in found)
            raise UsageError(f"baseline={name} fits several models: {names}; give the whole name")
    raise UsageError(
        f"baseline={name} is not a model; there are: {'; '.join(group.name for group in groups)}"
    )
