"""Put the parts of a task's report one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fovea.page.blocks import Section


def sections(run_dir: Path, *, parts: Sequence[Callable[[Path], list[Section]]]) -> list[Section]:
    """Return the sections of every part, in order."""
    return [section for part in parts for section in part(run_dir)]
