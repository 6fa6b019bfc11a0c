"""Keep the folder of predictions: what a call writes into it, and what an earlier one left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fovea.files import append, own_folder, remove_written, write_text

LIST = ".predict_files"  # what a call wrote, so that the next one removes just that


class Results:
    """A folder of which every file is listed; those of an earlier call are deleted, and nothing else.

    Args:
        folders: those in it that files go into; ValueError where one is a link.
    """

    def __init__(self, folder: Path, *, folders: Sequence[str]) -> None:
        self.folder = own_folder(Path(folder))
        for name in folders:  # a link is found before anything is deleted
            if (self.folder / name).is_symlink():
                own_folder(self.folder / name)
        remove_written(self.folder, LIST)
        write_text(self.folder / LIST, "")

    def own(self, name: str) -> Path:
        """List a file that is about to be written, and make its folder."""
        path = self.folder / name
        own_folder(path.parent, below=self.folder)
        append(self.folder / LIST, f"{name}\n")
        return path
