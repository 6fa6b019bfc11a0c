"""Load any folder of images with one folder per class."""

from __future__ import annotations

import logging
import re
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.formats.listing import describe, list_classes, split_named, visible_folders
from fovea.data.packed import Paths, Strings
from fovea.data.sources import FileImages, check_split

log = logging.getLogger(__name__)
PART = re.compile(r"(fold|split|part|set|cv)[ _-]?\d+", re.IGNORECASE)
FEW = 5  # folders that may be splits
LAYOUT = "DIR/<class>/*.jpg or DIR/{train,val,test}/<class>/*.jpg"


class Folder(FileImages):
    """The images of `root/<class>/…/*.jpg`, or `root/{train,val,test}/<class>/…/*.jpg`.

    Splits: those that have a folder (`training`, `valid`, `validation` and `testing` too), otherwise
    `all`. Classes are the sorted folder names. Hidden entries and those of a system are skipped, files that
    are no images are counted and skipped, links are followed once. Counts, licence and citation are those of
    your images.
    """

    splits: ClassVar[tuple[str, ...]] = ("all", "train", "val", "test")
    labels: np.ndarray

    def __init__(
        self, *, root: str | Path, split: str = "all", channels: int = 3, subset: bool = False
    ) -> None:
        folders = _split_folders(Path(root))
        check_split(split, list(folders))
        self.channels, self.classes = channels, self.find_classes(root=root)
        found = visible_folders(folders[split])
        unknown = sorted(set(found) - set(self.classes))
        if unknown:
            raise ValueError(f"class {unknown[0]!r} of {folders[split]} has no folder in the training split")
        names, self.labels, others = list_classes(found, self.classes, root=Path(root))
        self.ids, self.paths = Strings(names), Paths(root, names)
        if split in ("all", "train"):
            self._check(found)
        if others:
            log.info("%s: ignored %d files that are not images", folders[split], others)

    def _check(self, folders: dict[str, Path]) -> None:
        counts = np.bincount(self.labels, minlength=len(self.classes))
        empty = [self.classes[k] for k in np.flatnonzero(counts == 0)]
        if empty:
            more = f" ({len(empty)} classes have none)" if len(empty) > 1 else ""
            raise ValueError(
                f"class {empty[0]!r} has no image{more}: put some into {folders[empty[0]]} or remove it. "
                f"It holds {describe(folders[empty[0]])}"
            )

    @classmethod
    def find_splits(cls, *, root: str | Path, **options: object) -> tuple[str, ...]:
        """Return the splits that this folder has."""
        folders = _split_folders(Path(root))
        unused = [] if "all" in folders else [n for n in visible_folders(Path(root)) if split_named(n)]
        for name in (n for n in unused if split_named(n) not in folders):
            log.warning("%s has no class folder: it is not used as a split", Path(root) / name)
        return tuple(folders)

    @classmethod
    def find_classes(cls, *, root: str | Path, **options: object) -> list[str]:
        """List the class names, reading folder names only; errors say what a usable folder looks like."""
        folders = _split_folders(Path(root))
        folder = folders.get("train", folders.get("all", Path(root)))
        names = list(visible_folders(folder))
        if len(names) < 2:
            raise ValueError(
                f"{folder} needs at least 2 class folders, each with images ({LAYOUT}); "
                f"it holds {describe(folder)}"
            )
        return names


def _refuse_unnamed_splits(root: Path, children: dict[str, Path]) -> None:
    """Raise where folders of class folders are named like parts of a data set, but none trains."""
    parts = [n for n in children if (split_named(n) or PART.fullmatch(n)) and visible_folders(children[n])]
    if len(parts) > 1 or (parts and len(parts) == len(children)):
        raise ValueError(
            f"{root} holds {', '.join(parts)}, each with folders of its own, which look like splits, and no "
            f"train among them: expected {LAYOUT}. Rename the one that trains to train, or name one of them "
            f"by data.root={root / parts[0]}. Classes must have other names"
        )


def _warn_of_equal_trees(root: Path, children: dict[str, Path]) -> None:
    """Warn where the few folders hold folders of the same names, as splits do: they are read as classes."""
    inside = [frozenset(visible_folders(path)) for path in children.values()] if len(children) <= FEW else []
    if len(inside) > 1 and len(set(inside)) == 1 and len(inside[0]) > 1:
        _say_equal(root, ", ".join(children), ", ".join(sorted(inside[0])[:3]))


@cache
def _say_equal(root: Path, names: str, inside: str) -> None:
    log.warning(
        "%s: %s are read as classes, though each holds folders named %s, …: if they are splits, name them "
        "train, val and test",
        root, names, inside,
    )  # fmt: skip


def _split_folders(root: Path) -> dict[str, Path]:
    """Map split names to folders; a tree counts as split only if it holds split folders and nothing else."""
    if not root.is_dir():
        raise FileNotFoundError(
            f"image folder not found: looked for {root.absolute()}{', which is a file' * root.is_file()}. "
            f"Give data.root=DIR with {LAYOUT}, or run experiment=vit_digits, which needs no files"
        )
    children = visible_folders(root)
    splits = {split: path for name, path in children.items() if (split := split_named(name))}
    classes = {split: bool(visible_folders(path)) for split, path in splits.items()}
    if not classes.get("train"):
        _refuse_unnamed_splits(root, children)
        _warn_of_equal_trees(root, children)
        return {"all": root}
    if len(splits) < len(children):
        named = sum(split_named(name) is not None for name in children)
        inside = set(visible_folders(splits["train"]))
        like = any(inside & set(visible_folders(p)) for n, p in children.items() if not split_named(n))
        if sum(classes.values()) > 1 or named > len(splits) or like:  # to read them as classes would be wrong
            raise ValueError(
                f"{root} mixes split folders with others, expected {LAYOUT}: {', '.join(children)}"
            )
        return {"all": root}
    return {name: splits[name] for name in ("train", "val", "test") if classes.get(name)}
