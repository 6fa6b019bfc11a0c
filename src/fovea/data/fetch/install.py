"""Download an archive, unpack it and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

from fovea.data.fetch.download import extract, fetch


def install(url: str, archive: Path, *, expected: str, folder: Path) -> None:
    """Unpack an archive below `folder`; one downloaded for it is deleted, one placed by hand stays."""
    placed = archive.is_file()
    fetch([url], archive, expected=expected)
    extract(archive, folder)
    if not placed:
        archive.unlink()
