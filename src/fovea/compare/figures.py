"""The figures beside a comparison, on a list of our own: the next comparison removes just these."""

from __future__ import annotations

from pathlib import Path

from fovea.files import append, own_folder, remove_written

LIST = ".compare_files"


def own_figure(folder: Path, name: str) -> Path:
    """Return where a figure of the comparison in `folder` goes, and note that it is ours."""
    path = own_folder(folder / "figures") / name
    append(folder / LIST, f"figures/{name}\n")
    return path


def clear(folder: Path) -> None:
    """Delete the figures of an earlier comparison in the same place, which need not have these names."""
    own_folder(folder / "figures")
    remove_written(folder, LIST)
