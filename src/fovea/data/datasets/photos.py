"""Load any folder of photos, without labels: for colouring, style and other work on the pixels alone."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.fetch.missing import not_found
from fovea.data.formats.listing import SUFFIXES, describe, list_images, split_named, visible_folders
from fovea.data.packed import Paths, Strings
from fovea.data.sources import FileImages, check_split

log = logging.getLogger(__name__)
LAYOUT = """<any folders>/*.jpg
or
{train,val,test}/<any folders>/*.jpg"""


class Photos(FileImages):
    """All photos below a folder.

    Splits: train, val (or `valid`, `validation`) and test where the folder holds `train` and nothing but
    such folders, otherwise `all`. Hidden entries are skipped, files that are no images are counted and
    skipped, links are followed once. Counts, licence and citation are those of your photos.
    Files: `root/**/*.jpg` (or png, …).
    """

    splits: ClassVar[tuple[str, ...]] = ("all", "train", "val", "test")
    targets: tuple[str, ...] = ()
    labels: np.ndarray | None = None

    def __init__(self, *, root: str | Path, split: str = "all", channels: int = 3) -> None:
        root = Path(root)
        folders = _split_folders(root)
        check_split(split, list(folders))
        self.channels = channels
        self.classes: list[str] = []
        names, others = list_images(folders[split], root=root)
        if not names:
            raise _missing(folders[split], f"It holds no image, but {describe(folders[split])}.")
        if others:
            log.info("%s: ignored %d files that are not images", folders[split], others)
        self.ids = Strings(name.removeprefix("./") for name in names)
        self.paths = Paths(root, self.ids)

    @classmethod
    def find_splits(cls, *, root: str | Path, **options: object) -> tuple[str, ...]:
        """Return the splits that this folder has."""
        return tuple(_split_folders(Path(root)))


def _split_folders(root: Path) -> dict[str, Path]:
    """Map split names to folders; loose images or other folders beside them make it one tree."""
    if not root.is_dir():
        raise _missing(root)
    children = visible_folders(root)
    splits = {split: path for name, path in children.items() if (split := split_named(name))}
    loose = any(os.path.splitext(name)[1].lower() in SUFFIXES for name in os.listdir(root))
    if "train" not in splits or len(splits) != len(children) or loose:
        return {"all": root}
    return {name: splits[name] for name in ("train", "val", "test") if name in splits}


def _missing(path: Path, reason: str = "") -> FileNotFoundError:
    page = "put your photos there, or give data.root=DIR with a folder that has some"
    return not_found(
        name="photos", path=path.absolute(), page=page, layout=LAYOUT, reason=reason, download=False
    )
