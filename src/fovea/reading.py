"""Read text, YAML, JSON and arrays that may come from anybody: bounded, and nothing is run."""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

LARGEST_YAML, DEEPEST_YAML, LONGEST_YAML = 2_000_000, 64, 50_000  # bytes, levels, keys and values
LARGEST_ARRAYS = 2**33  # bytes of an .npz unfolded
LARGEST_TEXT = 256_000_000  # bytes, of metrics.csv after hundreds of thousands of epochs


def read_yaml(path: Path) -> Any:
    """Read plain values of YAML. An alias, with which a few bytes can stand for gigabytes, is refused.

    Raises:
        ValueError: the file is no YAML, too large, nested too deeply, or repeats itself by aliases.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = read_text(path, most=LARGEST_YAML)
    try:
        depth = 0
        # one by one: what follows calls itself, level by level
        for count, event in enumerate(yaml.parse(text, Loader=loader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST_YAML:
                raise ValueError(f"it is nested more than {DEEPEST_YAML} levels deep, as no config is")
            if count > LONGEST_YAML:
                raise ValueError(f"it holds more than {LONGEST_YAML} keys and values, as no config does")
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it repeats parts of itself by an alias (*name), which no config here does")
        value = yaml.load(text, Loader=loader)
        if odd := _not_plain(value):
            raise ValueError(f"it holds {odd}, as no config does")
        return value
    except (yaml.YAMLError, ValueError) as error:  # of dates and numbers that are none, too
        raise ValueError(f"{path} is not readable as YAML ({' '.join(str(error).split())})") from None


def _not_plain(node: Any) -> str:
    """Name a value that JSON has not, such as a date or a set; empty where there is none."""
    if isinstance(node, dict):
        for key in node:
            if isinstance(key, bool) or not isinstance(key, str | int):
                return f"the key {key!r}"
    if isinstance(node, dict | list):
        parts = node.values() if isinstance(node, dict) else node
        return next((odd for one in parts if (odd := _not_plain(one))), "")
    return "" if isinstance(node, str | int | float | None) else f"a {type(node).__name__}"


def read_text(path: Path, *, most: int = LARGEST_TEXT) -> str:
    """Read UTF-8; bytes that are not text are replaced.

    Raises:
        ValueError: the file is no regular one (a pipe is waited for, a device may never end), too large, or
            the system does not let it be read.
        FileNotFoundError: there is none.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is no regular file")
        if found.st_size > most:
            raise ValueError(f"{path} has {found.st_size} bytes, more than any run writes ({most})")
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({(error.strerror or str(error)).lower()})") from None


def read_bytes(path: Path) -> bytes:
    """Read a regular file.

    Raises:
        ValueError: it is a pipe, which would be waited for, a device, which may never end, or a folder.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} is no regular file: replace or remove it")
    return path.read_bytes()


def read_json(path: Path) -> dict[str, Any]:
    """Read an object of JSON.

    Raises:
        ValueError: the file is no regular one, too large, or holds something else; the message names it.
    """
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no object of JSON, but {text.strip()[:20]}")
    return value


@contextlib.contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Turn whatever the content of a file makes a reader raise into a ValueError that names the file.

    What the system raises (no such file, no permission, a broken disk, no memory) is no fault of the content.
    """
    try:
        yield
    except MemoryError as error:  # of a damaged size, or of too little memory for a sound file
        raise MemoryError(
            f"{path} asks for more memory than there is ({error}): get it again if it may be damaged"
        ) from error
    except Exception as error:  # each format's reader has errors of its own for damage
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path} is not a readable {what} ({error}): delete it and get it again") from error


class Unreadable(ValueError):
    """A file cannot be read; the message names it."""


def read_npz(path: Path, *keys: str) -> dict[str, np.ndarray]:
    """Read arrays of an `.npz` file by name, or all of them.

    Raises:
        Unreadable: the file is missing, damaged or lacks an array; the message names it.
    """
    import numpy as np

    try:
        if not path.is_file():
            raise ValueError("it is no regular file")
        with np.load(path, allow_pickle=False) as archive:
            unfolded = sum(entry.file_size for entry in archive.zip.infolist())
            if unfolded > LARGEST_ARRAYS:
                raise ValueError(f"it unfolds to {unfolded} bytes")
            found = {key: archive[key] for key in keys or archive.files}
            if not all(isinstance(value, np.ndarray) for value in found.values()):
                raise ValueError(f"not all of it are arrays: {', '.join(found)}")
            return found
    except Exception as error:  # zipfile, zlib and NumPy's parser of headers each raise their own of damage
        raise Unreadable(f"{path} cannot be read ({error})") from error
