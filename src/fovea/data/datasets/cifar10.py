"""Load CIFAR-10 from torchvision's folder layout, without running code that a pickle names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fovea.data.fetch.archive import extract
from fovea.data.fetch.download import fetch
from fovea.data.formats.unpickle import read_pickle
from fovea.data.sources import ArrayImages, Published, check_labels

FILES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
CLASSES = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"


class CIFAR10(Published, ArrayImages):
    """The 10-class subset of the 80 million tiny images.

    Splits: train 50,000 and test 10,000 colour images of 32×32, 10 balanced classes.
    Licence: none is stated; research use with citation. Files: `root/cifar-10-batches-py/data_batch_{1..5}`,
    `test_batch`. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    official: Mapping[str, int] = {"train": 50_000, "test": 10_000}
    name = "CIFAR-10"
    home: ClassVar[str] = "cifar-10-batches-py"
    also: ClassVar[tuple[str, ...]] = ("cifar10",)
    page = "https://www.cs.toronto.edu/~kriz/cifar.html"
    layout: ClassVar[str] = "cifar-10-batches-py/{data_batch_1…5,test_batch}, as the archive unpacks them"

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """Read the images of a split with their labels."""
        self.classes = CLASSES.split(",")
        return self.read_batches([self.folder_in(root) / name for name in FILES[split]], "labels")

    @classmethod
    def fetch_files(cls, root: Path, **options: object) -> None:
        """Download and unpack the archive unless every batch file is there."""
        from torchvision.datasets import CIFAR10 as Official

        cls.fetch_archive(Official, root, [*FILES["train"], *FILES["test"]])

    @classmethod
    def fetch_archive(cls, official: Any, root: Path, files: Sequence[str]) -> None:
        """Download and unpack what one of torchvision's CIFAR classes names, unless all files are there."""
        archive = root / official.filename
        if all((cls.folder_in(root) / file).is_file() for file in files):
            return
        fetch([official.url], archive, expected=official.tgz_md5)
        extract(archive, root)

    def read_batches(self, files: Sequence[Path], key: str) -> int:
        """Read and chain batch files: images (N, 32, 32, 3) uint8 and labels (N,) int64; return N."""
        parts = [self._read_batch(path, key) for path in files]
        flat = np.concatenate([images for images, _ in parts])  # (N, 3072), planes of red, green and blue
        self.images = np.ascontiguousarray(flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        self.labels = np.concatenate([labels for _, labels in parts])
        return len(self)

    def _read_batch(self, path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
        pixels, numbers = self.read_mapping(path, ["data", key])
        try:
            images, labels = np.asarray(pixels), np.asarray(numbers)
        except ValueError as error:  # lists of unequal length
            raise ValueError(f"{path} is no {self.name} batch: {error}") from error
        if images.dtype != np.uint8 or images.shape != (labels.size, 3072):
            raise ValueError(
                f"{path}: images {images.dtype} {images.shape}, expected uint8 ({labels.size}, 3072)"
            )
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError(f"{path}: {key} is {labels.dtype} {labels.shape}, expected whole numbers (N,)")
        return images, check_labels(labels, classes=len(self.classes), path=path)

    def read_mapping(self, path: Path, keys: Sequence[str]) -> list[Any]:
        """Return the values of some keys of a pickled dictionary; errors name the file and what it lacks."""
        if not path.is_file():
            raise self.missing(path)
        content = read_pickle(path)
        if not isinstance(content, Mapping) or any(key not in content for key in keys):
            found = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
            expected = " and ".join(keys)
            raise ValueError(
                f"{path} is no {self.name} file: expected {expected}, found {found or 'nothing'}"
            )
        return [content[key] for key in keys]
