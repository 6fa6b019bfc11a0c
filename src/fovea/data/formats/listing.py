"""List image files in folders: quickly, in a fixed order, never in circles."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from fovea.page.formats import counted

log = logging.getLogger(__name__)
ALIASES = {  # of splits
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
FOLDERS = ALIASES | {"dev": "val", "eval": "val", "evaluation": "val", "holdout": "test"}
FILLERS = {"set", "data", "dataset", "images", "imgs", "split", "seg"}  # beside the name of a split
FORMATS = {  # of images: the endings that say so
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "WebP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "PNM": {".ppm", ".pgm", ".pbm", ".pnm"},
    "AVIF": {".avif"},
    "HEIF": {".heic", ".heif"},
    "JPEG 2000": {".jp2"},
    "TGA": {".tga"},
}
SUFFIXES = frozenset().union(*FORMATS.values())
# folders that systems put beside those of people, compared in lower case
SYSTEM = frozenset(
    {"$recycle.bin", "system volume information", "lost+found", "@eadir", "#recycle", "@recycle", "#snapshot",
     "__macosx", "__pycache__"}
)  # fmt: skip


def visible_folders(folder: Path) -> dict[str, Path]:
    """Map the names of the folders in a folder to their paths, sorted; hidden and SYSTEM ones are left out.

    Names are compared in one Unicode form: systems differ in how they write an accent.
    """
    _refuse_all_files(folder)
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if _is_folder(e) and not e.name.startswith(".")]
    system = sorted(name for name in names if is_system(name))
    if system:
        _say_skipped(folder, ", ".join(system))
        names = [name for name in names if name not in system]
    found: dict[str, Path] = {}
    for name in sorted(names):
        form = unicodedata.normalize("NFC", name)
        if form in found:
            raise ValueError(f"{folder} has two folders named {form!r}, written in two ways: join them")
        found[form] = folder / name
    return dict(sorted(found.items()))


def split_named(name: str) -> str | None:
    """Return the split that a folder's name says, such as train for Training_Set, or None."""
    words = {re.sub(r"(?<=.)(data)?set$", "", word) for word in re.findall(r"[^\W\d_]+", name.lower())}
    words -= FILLERS
    return FOLDERS.get(words.pop()) if len(words) == 1 else None


def is_system(name: str) -> bool:
    """Return whether a folder of this name belongs to the system, not to a person."""
    return name.lower() in SYSTEM


@cache
def _say_skipped(folder: Path, names: str) -> None:
    """Say once which folders of the system are left out."""
    log.warning("%s: left out %s, which the system made", folder, names)


def list_images(folder: Path, *, root: Path) -> tuple[list[str], int]:
    """Return the sorted names, relative to `root`, of all images below a folder, and how many other files.

    Links are followed, but each folder is read once and none outside that holds this one.
    """
    _refuse_all_files(folder)
    prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    files = [prefix + name for name in _walk(folder)]
    images = [name for name in files if os.path.splitext(name)[1].lower() in SUFFIXES]
    return sorted(images, key=lambda name: name.split("/")), len(files) - len(images)


def list_classes(
    folders: Mapping[str, Path], classes: Sequence[str], *, root: Path
) -> tuple[list[str], np.ndarray, int]:
    """Return image names below class folders, their labels (N,) int64, and how many files are no images."""
    names, labels, others = [], [], 0
    number = {name: k for k, name in enumerate(classes)}
    for name, folder in folders.items():
        found, ignored = list_images(folder, root=root)
        names += found
        labels += [number[name]] * len(found)
        others += ignored
    return names, np.array(labels, dtype=np.int64), others


def present(
    names: Sequence[str], folder: Path, *, subset: bool, error: Callable[..., FileNotFoundError]
) -> np.ndarray:
    """Return the positions of the names that a folder holds; unless a subset is wanted that must be all.

    `error` builds what is raised from `path` and `reason`.
    """
    held = set(os.listdir(folder)) if folder.is_dir() else set()
    absent = [
        position
        for position, name in enumerate(names)
        if name not in held and not ("/" in name and (folder / name).is_file())
    ]
    if not names:
        raise error(path=folder, reason="No image is listed.")
    if absent and (not subset or len(absent) == len(names)):
        reason = f"{len(absent)} of {len(names)} images are missing."
        if folder.is_dir():
            reason += f" {folder.name} holds {describe(folder)}."
        raise error(path=folder / names[absent[0]], reason=reason)
    if absent:
        log.info("%s: left out %d of %d images that are missing", folder, len(absent), len(names))
    return np.delete(np.arange(len(names)), absent)


def describe(folder: Path) -> str:
    """Describe what a folder holds directly: how many images, other files and folders."""
    with os.scandir(folder) as entries:
        kinds = [
            ("folder" if _is_folder(e) else "image" if _is_image(e) else "file", e.name) for e in entries
        ]
    names = sorted(name for kind, name in kinds if kind == "folder" and not name.startswith("."))
    images, files = (sum(kind == k for kind, _ in kinds) for k in ("image", "file"))
    shown = f" ({', '.join(names[:8])}{', …' if len(names) > 8 else ''})" if names else ""
    folders, others = counted(len(names), "folder"), counted(files, "other file")
    return f"{folders}{shown}, {counted(images, 'image')} and {others}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_image(entry: os.DirEntry[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in SUFFIXES


def _refuse_all_files(folder: Path) -> None:
    real = os.path.realpath(folder)
    if os.path.dirname(real) == real:
        raise ValueError(f"{folder} is the root of the whole file system: give the folder of the images")


def _walk(start: Path) -> Iterator[str]:
    """Yield the names, relative to `start`, of all files that are not hidden; errors name the folder."""
    outside, seen, todo = set(Path(os.path.realpath(start)).parents), set(), [""]
    while todo:
        below = todo.pop()
        real = os.path.realpath(start / below)
        if real in seen or Path(real) in outside:
            continue  # a link back to a folder that was already read, or up and out
        seen.add(real)
        try:
            with os.scandir(start / below) as entries:
                visible = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
        except PermissionError:
            raise ValueError(
                f"{start / below} may not be read: change its permissions, move it away, or give "
                "another data.root"
            ) from None
        visible = [e for e in visible if not is_system(e.name)]
        folders = {entry.name for entry in visible if _is_folder(entry)}
        todo += [f"{below}{name}/" for name in sorted(folders, reverse=True)]
        files = (entry for entry in visible if entry.name not in folders)
        # no pipes or sockets: reading one never ends; a broken link is told when it is read
        yield from (below + entry.name for entry in files if entry.is_symlink() or entry.is_file())
