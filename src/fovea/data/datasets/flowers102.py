"""Load Oxford Flowers-102 from torchvision's folder layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.fetch.archive import extract
from fovea.data.fetch.download import fetch
from fovea.data.formats.listing import present
from fovea.data.formats.matlab import read_matlab
from fovea.data.packed import Paths, Strings
from fovea.data.sources import PublishedImages, check_labels

PAGE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
KEYS = {"train": "trnid", "val": "valid", "test": "tstid"}
LAYOUT = """
flowers-102/imagelabels.mat
flowers-102/setid.mat
flowers-102/jpg/image_00001.jpg … image_08189.jpg
"""


class Flowers102(PublishedImages):
    """Photos of 102 kinds of flowers common in the United Kingdom.

    Splits: train 1,020, val 1,020 (10 a class each) and test 6,149 colour photos, shorter side 500 or more.
    Licence: none is stated; research use with citation.
    Files: `root/flowers-102/{imagelabels.mat,setid.mat,jpg/image_00001.jpg…}`.
    Nilsback and Zisserman, "Automated flower classification over a large number of classes", 2008.
    """

    name, home, page, layout = "Flowers-102", "flowers-102", PAGE, LAYOUT
    also: ClassVar[tuple[str, ...]] = ("102flowers", "oxford-flowers-102")
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    official: Mapping[str, int] = {"train": 1020, "val": 1020, "test": 6149}

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """List the images of a split with their labels."""
        folder, self.classes = self.folder_in(root), class_names()
        numbers, labels = _read(folder, KEYS[split], classes=len(self.classes))
        names = [f"image_{n:05d}.jpg" for n in numbers]
        kept = present(names, folder / "jpg", subset=subset, error=self.missing)
        self.ids = Strings(names[i] for i in kept)
        self.paths = Paths(folder / "jpg", self.ids)
        self.labels = labels[kept]
        return len(self)

    @classmethod
    def fetch_files(cls, root: Path, **options: object) -> None:
        """Download the archive and the two label files that are missing."""
        from torchvision.datasets import Flowers102 as Official

        folder, base = cls.folder_in(root), Official._download_url_prefix
        for name, md5 in Official._file_dict.values():
            is_archive = name.endswith(".tgz")
            if (folder / "jpg").is_dir() if is_archive else (folder / name).is_file():
                continue
            fetch([base + name], folder / name, expected=md5)
            if is_archive:
                extract(folder / name, folder)


def class_names() -> list[str]:
    """Return the 102 names in the order of the labels."""
    from torchvision.datasets import Flowers102 as Official

    return list(Official.classes)


def _read(folder: Path, key: str, *, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers (N,) of the images of a split, which count from 1, and their labels (N,)."""
    tables = []
    for path, variable in ((folder / "setid.mat", key), (folder / "imagelabels.mat", "labels")):
        if not path.is_file():
            raise Flowers102.missing(path)
        table = read_matlab(path, variable)
        if table.ndim != 1 or table.dtype.kind not in "uif":
            raise ValueError(f"{path}: {variable} is {table.dtype} {table.shape}, expected numbers (N,)")
        tables.append(table.astype(np.int64))
    numbers, labels = tables
    path = folder / "setid.mat"
    if numbers.min() < 1 or numbers.max() > len(labels):
        raise ValueError(
            f"{path}: {key} holds {numbers.min()} to {numbers.max()}, but there are {len(labels)} labels"
        )
    values, counts = np.unique(numbers, return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"{path}: {key} names image {values[counts.argmax()]} {counts.max()} times")
    return numbers, check_labels(labels - 1, classes=classes, path=folder / "imagelabels.mat")[numbers - 1]
