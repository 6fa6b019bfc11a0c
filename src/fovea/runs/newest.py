"""Find the newest run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fovea.errors import UsageError


def named_last(run: str | Sequence[str], logs: Path) -> str | list[str]:
    """Replace `last`, the value of `run=` or one in a list, by the newest run below `logs`, and say which."""
    newest = str(newest_run(logs))
    sys.stderr.write(f"run=last: {newest}\n")
    if isinstance(run, str):
        return newest
    return [newest if one == "last" else str(one) for one in run]


def newest_run(logs: Path) -> Path:
    """Return the run below a folder whose checkpoint was written last.

    Raises:
        UsageError: there is none.
    """
    found = list(_checkpoints(logs))
    if not found:
        raise UsageError(f"run=last: there is no run with a checkpoint below {logs}; give run=DIR")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent.parent


def _checkpoints(top: Path) -> Iterator[Path]:
    """Yield the checkpoints of all runs below a folder; what lies inside a run is no other run."""
    for folder, children, _ in os.walk(top):
        if "checkpoints" in children:
            yield from (Path(folder) / "checkpoints").glob("*.ckpt")
            children.clear()
