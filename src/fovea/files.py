"""Atomic files: written beside their target, then moved into place."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

FULL = (errno.ENOSPC, errno.EDQUOT)
# C0 without tab and line feed, a lone carriage return, DEL and C1, changes of direction, surrogates
UNSHOWN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)"
)
# ours, and those of Lightning's finders; each name is drawn at random
DRAFT = re.compile(r"\.([0-9a-f]{16}\.part|(lr_find|scale_batch_size)_[0-9a-f-]{36}\.ckpt)")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new empty file beside `path`, which replaces it once the block ends without an error.

    Nobody can guess its name, so it is never somebody else's file or link; after an error it is gone.
    """
    draft = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield draft
        os.replace(draft, path)
    except Exception as error:
        _name_what_is_wrong(error, path)
        if isinstance(error, OSError) and error.filename == str(draft):
            error.filename = str(path)
        raise
    finally:
        draft.unlink(missing_ok=True)


def _name_what_is_wrong(error: Exception, path: Path) -> None:
    """Raise an error that names the path where there is no room, or where its folder is gone."""
    if _is_full(error):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    if isinstance(error, FileNotFoundError) and not path.parent.is_dir():
        gone = f"{path.parent} is gone: it was deleted or renamed while it was in use"
        raise FileNotFoundError(gone) from None


def _is_full(error: Exception) -> bool:
    """Whether a file found no room; torch, which writes archives itself, has only words for it."""
    if isinstance(error, OSError):
        return error.errno in FULL
    words = ("PytorchStreamWriter", "inline_container")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


@contextlib.contextmanager
def replacing_text(path: Path) -> Iterator[IO[str]]:
    """Yield a stream of UTF-8 text whose file replaces `path` at the end; lines end as they are written."""
    with replacing(path) as draft, draft.open("wb") as file, _Printable(file, "utf-8", newline="") as stream:
        yield stream


class _Printable(io.TextIOWrapper):
    def write(self, text: str) -> int:
        return super().write(printable(text))


def own_folder(path: Path, *, below: Path | None = None) -> Path:
    """Make a folder for results, and refuse one that is a link, which somebody else may have laid.

    Args:
        path: the folder.
        below: the folder that the user named, a link perhaps; what is checked are the folders in it, on the
            way to `path`. None: `path` is checked.

    Raises:
        ValueError: a folder is a link.
    """
    _refuse_links(path, below=below or path.parent)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise ValueError(f"{path} cannot be made ({error.strerror}); give another by output=DIR") from None
    return path


def _refuse_links(path: Path, *, below: Path) -> None:
    above, inside = Path(os.path.abspath(below)), Path(os.path.abspath(path))
    place = above
    for part in inside.relative_to(above).parts if inside.is_relative_to(above) else ():
        place = place / part
        if place.is_symlink():
            raise ValueError(f"{place} is a link, and results are never written through links: delete it")


def remove_drafts(folder: Path) -> None:
    """Delete the drafts that a killed process left in a folder, which is no link."""
    for path in folder.iterdir() if folder.is_dir() and not folder.is_symlink() else ():
        if DRAFT.fullmatch(path.name) and (path.is_symlink() or not path.is_dir()):
            path.unlink(missing_ok=True)


def results_folder(path: Path, *, run: Path | None = None) -> Path:
    """Return the folder of a command's results, not made yet: a link is followed where the user gave it.

    Args:
        path: the folder.
        run: the run directory, where the folder is the default one in it.

    Raises:
        ValueError: the name is empty, or a folder in the run is a link.
    """
    if str(path) in ("", "."):
        raise ValueError("output= is empty: name a folder for the results")
    if run is None:
        return path.resolve() if path.is_symlink() else path
    _refuse_links(path, below=run)
    return path


def open_end(path: str | Path) -> int:
    """Return a descriptor at the end of a regular file that is no link, made where there is none.

    A file with a second name (a hard link) becomes a copy first, so that what has the other name stays.

    Raises:
        ValueError: it is a link, or a pipe, for whose reader the process would wait.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise ValueError(f"{path} is a link or a pipe, and no log is written there: delete it") from None
        raise
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path} is no regular file, and no log is written there: delete it")
    with replacing(Path(path)) as draft:
        shutil.copyfile(path, draft)
    return open_end(path)


def append(path: Path, text: str) -> None:
    """Add text to the end of a file that is no link."""
    try:
        with os.fdopen(open_end(path), "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        _name_what_is_wrong(error, path)
        raise


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write one array as `np.load` reads it."""
    import numpy as np

    with replacing(path) as draft, draft.open("wb") as file:
        np.save(file, array)


def written(folder: Path, listing: str) -> set[Path]:
    """Return the files in a folder, resolved, that a listing in it names as written by an earlier call."""
    file, top, found = folder / listing, folder.resolve(), set()
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    for line in lines:
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # an edited list
            if top in (path := (folder / line).resolve()).parents and path.is_file():
                found.add(path)
    return found


def remove_written(folder: Path, listing: str) -> None:
    """Delete what an earlier call wrote into a folder, and nothing else; then folders left empty."""
    top, old = folder.resolve(), written(folder, listing)
    for path in old:
        path.unlink(missing_ok=True)
    above = {parent for path in old for parent in path.parents if top in parent.parents}
    for place in sorted(above, key=lambda p: len(p.parts), reverse=True):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
    (folder / listing).unlink(missing_ok=True)


def printable(text: str) -> str:
    r"""Write control characters, which a terminal obeys and no page shows, as escapes such as `\x1b`."""
    return UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def write_text(path: Path, text: str) -> None:
    r"""Write UTF-8; bytes of a file's name that are not text become `\udc..` escapes."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any, *, indent: int = 2) -> None:
    """Write JSON that every reader takes: numbers that are not finite become null."""
    text = json.dumps(finite(value), indent=indent, ensure_ascii=False)
    write_text(path, UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def finite(value: Any) -> Any:
    """Return plain containers in which NaN and infinity are None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def unique_names(paths: Sequence[str], *, suffix: str = ".png") -> list[str]:
    """Return a unique file name for every input: `cat.png`, with its folder where two inputs share a name.

    Names that differ only in case count as equal, because some file systems ignore case.
    """
    stems = [clean(PurePath(path).stem) for path in paths]
    count = Counter(stem.casefold() for stem in stems)
    names, taken = [], set()
    for path, stem in zip(paths, stems, strict=True):
        if count[stem.casefold()] > 1:
            parts = (PurePath(path).parent.name, PurePath(path).name)
            stem = clean("__".join(part for part in parts if part))
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.casefold())
        names.append(f"{name}{suffix}")
    return names


def clean(name: str) -> str:
    """Drop what some file system refuses, and what does not fit into its 255 bytes."""
    name = name.encode("utf-8", "backslashreplace").decode("utf-8")
    name = re.sub(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*]', "_", name)
    return name.encode("utf-8")[:200].decode("utf-8", "ignore").strip(" .") or "image"
