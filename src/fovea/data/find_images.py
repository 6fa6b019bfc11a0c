"""Find the image files of a file name, a folder or a glob."""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from fovea.errors import UsageError

Key = TypeVar("Key")
Read = TypeVar("Read", bound=Mapping[str, Any])
log = logging.getLogger(__name__)
MEMORY = 256 * 2**20  # bytes of decoded images held at a time


def find_images(pattern: str) -> list[Path]:
    """Return the files that a file name, a folder or a glob stands for, in a stable order.

    In a folder only visible files with an image's ending count; files named one by one are always tried.
    """
    path = Path(pattern)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _in_folder(path)
    found = sorted(p for p in map(Path, glob.glob(pattern, recursive=True)) if p.is_file())
    if not found:
        raise UsageError(
            f"input={pattern} is neither file nor folder and matches no file (quote a glob, input='*.png')"
        )
    return found


def _in_folder(folder: Path) -> list[Path]:
    from fovea.data.formats.listing import SUFFIXES, is_system

    files = [p for p in folder.rglob("*") if p.is_file()]
    files = [
        p
        for p in files
        if not any(part.startswith(".") or is_system(part) for part in p.relative_to(folder).parts)
    ]
    found = sorted(p for p in files if p.suffix.lower() in SUFFIXES)
    if not found:
        raise UsageError(f"there is no image in the folder {folder}")
    if len(found) < len(files):
        log.info("%s: %d files without an image's ending are left out", folder, len(files) - len(found))
    return found


def unreadable(path: object, error: Exception) -> str:
    """Return why a file could not be read, with its name once."""
    text = str(error)
    return text if str(path) in text else f"{path}: {text}"


def read_chunks(
    keys: Iterable[Key], read: Callable[[Key], Read], *, size: int
) -> Iterator[list[tuple[Key, Read | Exception]]]:
    """Read up to `size` images at a time, each a sample with its `image`, or the error that reading it gave.

    Large photos make a chunk end early, so that memory stays bounded.
    """
    chunk: list[tuple[Key, Read | Exception]] = []
    held = 0
    for key in keys:
        try:
            sample = read(key)
            chunk.append((key, sample))
            held += sample["image"].nbytes
        except (OSError, ValueError) as error:  # what a damaged or missing file raises
            chunk.append((key, error))
        if len(chunk) == size or held > MEMORY:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk
