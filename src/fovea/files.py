"""Atomic files: written beside their target, then moved into place."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

LARGEST_YAML = 2_000_000  # letters
DRAFT = re.compile(r"\.[0-9a-f]{16}\.part")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new empty file beside `path`, which replaces it once the block ends without an error.

    Nobody can guess its name, so it is never somebody else's file or link; after an error it is gone.
    """
    draft = path.with_name(f".{secrets.token_hex(8)}.part")
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(folder: Path) -> None:
    """Delete the drafts of `replacing` that a killed process left in a folder."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if DRAFT.fullmatch(path.name):
            path.unlink(missing_ok=True)


def read_yaml(path: Path) -> Any:
    """Read plain values of YAML. An alias, with which a few bytes can stand for gigabytes, is refused.

    Raises:
        ValueError: the file is no YAML, too large, nested too deeply, or repeats itself by aliases.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = path.read_text(encoding="utf-8", errors="replace")
    if len(text) > LARGEST_YAML:
        raise ValueError(f"{path} holds {len(text)} letters, more than any config has")
    try:
        if "*" in text and any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text, Loader=loader)):
            raise ValueError(f"{path} repeats parts of itself by aliases (*name), which no config here does")
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not readable as YAML ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply to be a config") from None


def write_text(path: Path, text: str) -> None:
    r"""Write UTF-8; bytes of a file's name that are not text become `\udc..` escapes."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any, *, indent: int = 2) -> None:
    """Write JSON that every reader takes: numbers that are not finite become null."""
    write_text(path, json.dumps(finite(value), indent=indent, ensure_ascii=False) + "\n")


def finite(value: Any) -> Any:
    """Return plain containers in which NaN and infinity are None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


@contextlib.contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Name in a ValueError a file whose content fails in any way; one that is not there says so itself."""
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:
        raise ValueError(f"{path} is not a readable {what} ({error}): delete it and get it again") from error


def read_npz(path: Path, *keys: str) -> dict[str, np.ndarray]:
    """Read arrays of an `.npz` file by name, or all of them.

    Raises:
        ValueError: the file is missing, damaged or lacks an array; the message names it.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys or archive.files}
    except Exception as error:  # zipfile, zlib and NumPy's parser of headers each raise their own of damage
        raise ValueError(f"{path} cannot be read ({error})") from error


def unique_names(paths: Sequence[str], *, suffix: str = ".png") -> list[str]:
    """Return a unique file name for every input: `cat.png`, with its folder where two inputs share a name.

    Names that differ only in case count as equal, because some file systems ignore case.
    """
    stems = [_clean(PurePath(path).stem) for path in paths]
    count = Counter(stem.casefold() for stem in stems)
    names, taken = [], set()
    for path, stem in zip(paths, stems, strict=True):
        if count[stem.casefold()] > 1:
            parts = (PurePath(path).parent.name, PurePath(path).name)
            stem = _clean("__".join(part for part in parts if part))
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.casefold())
        names.append(f"{name}{suffix}")
    return names


def _clean(name: str) -> str:
    """Drop what some file system refuses, and what does not fit into its 255 bytes."""
    name = name.encode("utf-8", "backslashreplace").decode("utf-8")
    name = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "_", name)
    return name.encode("utf-8")[:200].decode("utf-8", "ignore").strip(" .") or "image"
