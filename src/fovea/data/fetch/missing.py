"""Build the error for missing data: what is missing, what is there instead, and how to get it."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from textwrap import dedent, indent

FAILED = "Download failed"  # how the reason begins where a download was tried
SHOWN, LISTED = 8, 2000  # entries named in a message, and read to find the first of them


def not_found(
    *, name: str, path: Path, page: str, reason: str = "", download: bool = True, layout: str = ""
) -> FileNotFoundError:
    """Build the one error for missing data: what, where, what is there, how to get it, what runs without."""
    expected = f"  expected:\n{indent(dedent(layout).strip(), ' ' * 6)}\n" if layout else ""
    how = "  download it:    add data.download=true\n  or by hand:     " if download else "  get it by hand: "
    if reason.startswith(FAILED):
        how = "  try again:      this command, where there is a network\n  or by hand:     "
    return FileNotFoundError(
        f"{name} not found: looked for {path}.{f' {reason}' if reason else ''}\n"
        f"  found:          {_around(Path(path))}\n"
        f"{expected}"
        f"{how}{page}\n"
        f"  elsewhere:      point data.root at the folder that holds it\n"
        f"  or run offline: python src/train.py experiment=vit_digits (its images are already installed)"
    )


def _around(path: Path) -> str:
    """Describe the nearest folder that exists on the way to a path, by its first entries."""
    folder = path.absolute()
    while not os.path.isdir(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        with os.scandir(folder) as entries:
            names = sorted(f"{e.name}/" if e.is_dir() else e.name for e in islice(entries, LISTED))
    except OSError as error:
        return f"{folder} cannot be listed ({error.strerror}): check its permissions"
    if not names:
        return f"{folder} is empty"
    more = f", … ({len(names)}{' or more' if len(names) == LISTED else ''})" if len(names) > SHOWN else ""
    return f"{folder} holds {', '.join(names[:SHOWN])}{more}"
