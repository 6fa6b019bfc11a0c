"""Load Oxford Flowers-102 from torchvision's folder layout."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.download import extract, fetch, not_found
from fovea.data.sources import FileImages, check_labels, check_split

log = logging.getLogger(__name__)
PAGE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
KEYS = {"train": "trnid", "val": "valid", "test": "tstid"}
OFFICIAL = {"train": 1020, "val": 1020, "test": 6149}


class Flowers102(FileImages):
    """Hold 102 kinds of flowers common in the United Kingdom.

    Splits: train 1,020, val 1,020 (10 a class each) and test 6,149 colour photos, shorter side 500 or more.
    Licence: none is stated; research use with citation.
    Files: `root/flowers-102/{imagelabels.mat,setid.mat,jpg/image_00001.jpg…}`.
    Nilsback and Zisserman, "Automated flower classification over a large number of classes", 2008.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    def __init__(
        self, *, root: str | Path, split: str = "train", channels: int = 3, download: bool = False
    ) -> None:
        check_split(split, self.splits)
        if download:
            self.prepare(root=root)
        folder = Path(root) / "flowers-102"
        labels = _read(folder / "imagelabels.mat", "labels")
        numbers = _read(folder / "setid.mat", KEYS[split])  # count from 1
        self.classes = class_names()
        self.channels = channels
        self.ids = [f"image_{n:05d}.jpg" for n in numbers]
        self.paths = [folder / "jpg" / name for name in self.ids]
        path = folder / "imagelabels.mat"
        self.labels = check_labels(labels[numbers - 1] - 1, classes=len(self.classes), path=path)
        self._check(folder / "jpg")
        if len(self.ids) != OFFICIAL[split]:
            log.warning("Flowers-102 %s: %d images, officially %d", split, len(self.ids), OFFICIAL[split])

    def _check(self, folder: Path) -> None:
        present = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        lacking = [name for name in self.ids if name not in present]
        if lacking:
            reason = f"{len(lacking)} of {len(self.ids)} images are missing."
            raise not_found(name="Flowers-102", path=folder / lacking[0], page=PAGE, reason=reason)

    @classmethod
    def prepare(cls, *, root: str | Path, channels: int = 3, download: bool = True) -> None:
        """Download the archive and the two label files that are missing."""
        from torchvision.datasets import Flowers102 as Official

        folder, base = Path(root) / "flowers-102", Official._download_url_prefix
        try:
            for name, md5 in Official._file_dict.values():
                is_archive = name.endswith(".tgz")
                if (folder / "jpg").is_dir() if is_archive else (folder / name).is_file():
                    continue
                if not (folder / name).is_file():
                    fetch([base + name], folder / name, expected=md5)
                if is_archive:
                    extract(folder / name, folder)
        except OSError as error:
            raise not_found(
                name="Flowers-102", path=folder, page=PAGE, reason=f"Download failed: {error}."
            ) from error


def class_names() -> list[str]:
    """Return the 102 names in the order of the labels."""
    from torchvision.datasets import Flowers102 as Official

    return list(Official.classes)


def _read(path: Path, key: str) -> np.ndarray:
    """Read one integer vector of a MATLAB file; ValueError names a damaged file."""
    if not path.is_file():
        raise not_found(name="Flowers-102", path=path, page=PAGE)
    from scipy.io import loadmat

    try:
        return np.atleast_1d(loadmat(path, squeeze_me=True)[key]).astype(np.int64)
    except Exception as error:  # loadmat fails in many ways on a damaged file
        raise ValueError(f"{path} has no readable {key!r} ({error}): delete it and get it again") from error
