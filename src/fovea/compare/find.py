"""Find run directories by paths and globs."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fovea.errors import UsageError


def find(patterns: Sequence[str], *, exclude: Sequence[str] = ()) -> list[Path]:
    """Return the run directories that paths and globs stand for, each once, in a stable order."""
    found = _matched(patterns, "runs")
    for place in _matched(exclude, "exclude"):
        found.pop(place, None)
    if not found:
        raise UsageError("exclude= leaves no run: name fewer")
    return list(found.values())


def _matched(patterns: Sequence[str], key: str) -> dict[str, Path]:
    """Return run directories by the place where they are, whatever leads there."""
    found: dict[str, Path] = {}
    for pattern in patterns:
        paths = [Path(pattern)] if Path(pattern).is_dir() else [Path(p) for p in sorted(glob.glob(pattern))]
        runs = [run for path in paths if path.is_dir() for run in _below(path)]
        if not runs:
            what = "holds no run" if paths else "is not a directory and matches none"
            raise UsageError(f"{key}={pattern} {what}; a run directory has a config.yaml (quote a glob)")
        found |= {os.path.realpath(run): run for run in runs if os.path.realpath(run) not in found}
    return found


def _below(path: Path) -> Iterator[Path]:
    """Yield the run directories at and below a path; what lies inside a run is no other run."""
    for folder, children, files in os.walk(path):
        if "config.yaml" in files:
            children.clear()
            yield Path(folder)
        children[:] = sorted((c for c in children if not c.startswith(".")), key=_numbers_first)


def _numbers_first(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if name.isdigit() else (1, 0, name)
