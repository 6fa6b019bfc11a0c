"""Flatten the configs of runs, and separate settings that matter from where and how often a run was made."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fovea.runs.read import Run

# What makes no other experiment: the seed, paths, names, and how fast data arrive.
IGNORED_KEYS = (
    "seed", "name", "tags", "run_dir", "resume", "test", "experiment", "sweep_name", "sweep_dir", "sweep",
    "paths", "report", "checkpoint", "logger", "hydra", "data.root", "data.download", "data.num_workers",
    "data.cache", "precision_reason",
)  # fmt: skip
Settings = dict[str, Any]  # dotted key -> scalar or list


def is_ignored(key: str) -> bool:
    """Whether a dotted key has no influence on what is trained."""
    return any(key == name or key.startswith(f"{name}.") for name in IGNORED_KEYS)


def flatten(config: Mapping[str, Any], *, prefix: str = "") -> Settings:
    """Return the leaves of a nested config by dotted key; lists are leaves, empty groups vanish."""
    found: Settings = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flatten(value, prefix=f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def settings(run: Run) -> Settings:
    """Return what a run was trained with, without seed and paths."""
    run_dir, flat = str(run.config.get("run_dir", "")), flatten(run.config)
    searched = run.section("found")  # by a finder: the search is the setting, not what each seed found
    kept = {key: value for key, value in flat.items() if not is_ignored(key) and key not in searched}
    return {k: v for k, v in kept.items() if not (run_dir and isinstance(v, str) and v.startswith(run_dir))}


def seed_of(run: Run) -> object:
    """Return the seed of a run."""
    return run.config.get("seed", run.summary.get("seed"))


def drop_seed_copies(runs: Sequence[Run]) -> list[Settings]:
    """Return the settings of every run without the copies of its seed, such as a `data.seed` that follows it.

    Only keys that hold `seed` count: another setting could go along with the seed by accident.
    """
    return drop_copies([settings(run) for run in runs], [seed_of(run) for run in runs], named="seed")


def drop_copies(runs: Sequence[Settings], values: Sequence[Any], *, named: str = "") -> list[Settings]:
    """Drop the keys that hold `named` and whose values are, run by run, those of `values`, which vary."""
    if len({comparable(value) for value in values}) < 2:
        return list(runs)
    copies = {
        key for key in set().union(*runs)
        if named in key and all(_same(one.get(key), v) for one, v in zip(runs, values, strict=True))
    }  # fmt: skip
    return [{key: value for key, value in one.items() if key not in copies} for one in runs]


def _same(a: Any, b: Any) -> bool:
    """Whether two settings are equal; true is not 1."""
    return type(a) is type(b) and a == b


def comparable(value: Any) -> str:
    """Return a setting as a text that is hashable and comparable."""
    return json.dumps(value, sort_keys=True, default=str)


def varying(runs: Sequence[Settings]) -> list[str]:
    """Return the keys that are not the same everywhere, in the order of the configs."""
    keys = dict.fromkeys(key for one in runs for key in one)
    return [key for key in keys if len({comparable(one.get(key)) for one in runs}) > 1]


def overrides(run: Run) -> dict[str, str]:
    """Return the overrides that a run was given: those of its sweep, else those of its command."""
    file = run.dir / "overrides.yaml"
    if file.is_file():
        import yaml

        words: Iterable[Any] = yaml.safe_load(file.read_text(encoding="utf-8")) or []
    else:
        try:
            words = shlex.split(str(run.summary.get("command") or ""))[2:]
        except ValueError:  # a quote was left open
            words = []
    pairs = [str(word).lstrip("+").split("=", 1) for word in words if "=" in str(word)]
    return {key: value for key, value in pairs if key == "experiment" or not is_ignored(key)}


def setting(run: Run, key: str) -> object:
    """Return one setting by its dotted key: a leaf, the choice of a group, or the experiment's name."""
    if key == "experiment":
        return run.experiment
    if key == "run_dir":  # where it is, not where it was trained
        return str(run.dir)
    node: Any = run.config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        return node
    chosen = overrides(run).get(key) or node.get("name")
    return chosen if chosen is not None else str(node.get("_target_", "")).rsplit(".", 1)[-1] or None


def has_setting(run: Run, key: str) -> bool:
    """Whether a run's config has a dotted key."""
    return key == "experiment" or any(k == key or k.startswith(f"{key}.") for k in flatten(run.config))


def format_setting(value: Any) -> str:
    """Write a setting as a reader would."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return value.rsplit(".", 1)[-1] if value.startswith(("fovea.", "torch.", "timm.")) else value
    return json.dumps(value) if not isinstance(value, list) else f"[{', '.join(map(format_setting, value))}]"
