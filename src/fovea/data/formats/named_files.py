"""Resolve the photos that an annotation file names: each inside of the data, and each once."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from reprlib import repr as short

LONGEST = 1000  # characters of a name
# control characters and halves of a pair; \udc80 to \udcff stand for the bytes of names that are no UTF-8
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udc7f\udd00-\udfff]")


def check_name(name: object, *, what: str, where: object) -> str:
    """Return a name of a file or class, which can be shown and looked for; ValueError says what it lacks."""
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{where} has the {what} {short(name)}, expected a text: correct it")
    if len(name) > LONGEST:
        raise ValueError(f"{where} has a {what} of {len(name):,} characters, {name[:20]!r}…: shorten it")
    if _ODD.search(name):
        shown = ascii(name[:60])
        raise ValueError(f"{where} has the {what} {shown}, with a character that no name has: correct it")
    return name


def inside(names: Sequence[str], folder: Path, *, homes: Sequence[Path], where: object) -> list[str]:
    """Return the absolute paths of names in a folder, without detours; ValueError where one leaves all homes.

    What lies in a home by a link lies there: names are compared, not what links lead to.
    """
    start, tops = os.path.abspath(folder), list(dict.fromkeys(map(os.path.abspath, homes)))
    within = tuple(top.rstrip(os.sep) + os.sep for top in tops)
    paths = [os.path.normpath(os.path.join(start, name)) for name in names]
    for name, path in zip(names, paths, strict=True):
        if not path.startswith(within):
            raise ValueError(
                f"{where} names the image {name}, which leads out of {' and '.join(tops)}: put the image "
                "there and correct the name, or give a data.root that holds it"
            )
    return paths


def find_twice(paths: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the positions of a path and of a later one that is the same file.

    Names of equal letters in another case or Unicode form are one file where the system says so.
    """
    first: dict[str, int] = {}
    for at, path in enumerate(paths):
        before = first.setdefault(unicodedata.normalize("NFC", path).casefold(), at)
        if before != at and (paths[before] == path or _same(paths[before], path)):
            yield before, at


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # not there, which is told elsewhere
        return False
