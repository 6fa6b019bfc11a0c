"""Find the folder of a published data set where people have it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

MOST = 2000  # folders looked at in one place


def find_home(root: Path, names: Sequence[str]) -> Path:
    """Return the folder `names[0]` of a root, or the folder of such a name that was probably meant.

    In this order: in the root, the root itself, around it, one level below. Names are compared without
    case, blanks, hyphens and underscores; one inside another of the same name counts. Without any it is
    `root / names[0]`, where the files are wanted.
    """
    usual, known = root / names[0], {plain(name) for name in names}
    if usual.is_dir():
        return usual
    for folder in _candidates(root):
        if plain(folder.name) in known:
            inner = next((f for f in _folders(folder) if plain(f.name) in known), None)
            return inner or folder
    return usual


def _candidates(root: Path) -> Iterator[Path]:
    inside = list(_folders(root))
    yield from inside
    if root.is_dir():
        whole = root.absolute()
        yield from (whole, whole.parent)
    for folder in inside:
        yield from _folders(folder)


def _folders(folder: Path) -> Iterator[Path]:
    """Yield the visible folders in a folder, sorted; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e, _ in zip(entries, range(MOST), strict=False) if e.is_dir())
    except OSError:
        return
    yield from (folder / name for name in names if not name.startswith("."))


def plain(name: str) -> str:
    """Return the letters and digits of a name, in one case."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())
