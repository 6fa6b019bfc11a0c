"""Load any folder of images with one folder per class."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.sources import FileImages, check_split

log = logging.getLogger(__name__)
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
ALIASES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class Folder(FileImages):
    """Hold `root/<class>/…/*.jpg`, or `root/{train,val,test}/<class>/…/*.jpg`.

    Splits: those that have a folder (`valid` and `validation` are read as val), otherwise `all`. Classes are
    the sorted folder names. Hidden entries are skipped, files that are no images are counted and skipped,
    links are followed once. Counts, licence and citation are those of your images.
    """

    splits: ClassVar[tuple[str, ...]] = ("all", "train", "val", "test")

    def __init__(self, *, root: str | Path, split: str = "all", channels: int = 3) -> None:
        folders = _split_folders(Path(root))
        check_split(split, list(folders))
        self.channels = channels
        self.classes = find_classes(root)
        self.paths, self.ids, labels, ignored = [], [], [], 0
        for name in _class_names(folders[split]):
            if name not in self.classes:
                raise ValueError(f"class {name!r} of {folders[split]} has no folder in the training split")
            found, others = _images(folders[split] / name)
            if not found and split in ("all", "train"):
                raise ValueError(
                    f"class {name!r} has no image: put some into {folders[split] / name} or remove it"
                )
            ignored += others
            self.paths += found
            labels += [self.classes.index(name)] * len(found)
        self.ids = [path.relative_to(root).as_posix() for path in self.paths]
        self.labels = np.array(labels, dtype=np.int64)
        if ignored:
            log.info("%s: ignored %d files that are not images", folders[split], ignored)

    @classmethod
    def find_splits(cls, *, root: str | Path, channels: int = 3) -> tuple[str, ...]:
        """Return the splits that this folder has."""
        return tuple(_split_folders(Path(root)))


def find_classes(root: str | Path) -> list[str]:
    """List the class names, reading folder names only; errors say what a usable folder looks like."""
    folders = _split_folders(Path(root))
    names = _class_names(folders.get("train", folders.get("all", Path(root))))
    if len(names) < 2:
        raise ValueError(f"{root} needs at least 2 class folders, each with images; found {names or 'none'}")
    return names


def count_classes(root: str | Path) -> int:
    """Count the classes, reading folder names only."""
    return len(find_classes(root))


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _class_names(folder: Path) -> list[str]:
    return [p.name for p in _visible_folders(folder)]


def _split_folders(root: Path) -> dict[str, Path]:
    """Map split names to folders; a tree counts as split only if it holds split folders and nothing else."""
    if not root.is_dir():
        raise FileNotFoundError(
            f"image folder not found: looked for {root.absolute()}. Give data.root=DIR with "
            f"DIR/<class>/*.jpg or DIR/{{train,val,test}}/<class>/*.jpg, or run experiment=vit_digits, "
            f"which needs no files"
        )
    children = _visible_folders(root)
    splits = {ALIASES[p.name.lower()]: p for p in children if p.name.lower() in ALIASES}
    if "train" not in splits or len(splits) != len(children) or not _visible_folders(splits["train"]):
        return {"all": root}
    return {
        name: splits[name]
        for name in ("train", "val", "test")
        if name in splits and _visible_folders(splits[name])
    }


def _images(folder: Path) -> tuple[list[Path], int]:
    """Return the sorted image files below a folder, and how many other files there are."""
    files = sorted(_walk(folder))
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    return images, len(files) - len(images)


def _walk(folder: Path) -> Iterator[Path]:
    start, seen = Path(os.path.realpath(folder)), set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = Path(os.path.realpath(here))
        if real in seen or real in start.parents:
            folders.clear()  # a link back to a folder that was already read, or up and out of the class
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in files if not name.startswith("."))
