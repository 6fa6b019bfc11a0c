"""Load CIFAR-10 from torchvision's folder layout, without running code that a pickle names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fovea.data.fetch.archive import extract
from fovea.data.fetch.download import fetch
from fovea.data.fetch.missing import not_found
from fovea.data.formats.unpickle import read_pickle
from fovea.data.sources import ArrayImages, check_count, check_labels, check_split

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
FILES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
CLASSES = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"


class CIFAR10(ArrayImages):
    """The 10-class subset of the 80 million tiny images.

    Splits: train 50,000 and test 10,000 colour images of 32×32, 10 balanced classes.
    Licence: none is stated; research use with citation. Files: `root/cifar-10-batches-py/data_batch_{1..5}`,
    `test_batch`. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    official: ClassVar[dict[str, int]] = {"train": 50_000, "test": 10_000}

    def __init__(
        self, *, root: str | Path, split: str = "train", download: bool = False, subset: bool = False
    ) -> None:
        self.split = check_split(split, self.splits)
        if download:
            self.prepare(root=root)
        self.classes = CLASSES.split(",")
        files = [Path(root) / "cifar-10-batches-py" / name for name in FILES[split]]
        self.images, self.labels = read_batches(files, "labels", classes=len(self.classes), name="CIFAR-10")
        check_count("CIFAR-10", split, found=len(self), official=self.official, subset=subset)

    @classmethod
    def prepare(cls, *, root: str | Path, download: bool = True, subset: bool = False) -> None:
        """Download and unpack the archive unless every batch file is there."""
        from torchvision.datasets import CIFAR10 as Official

        prepare(Official, root=Path(root), files=[*FILES["train"], *FILES["test"]], name="CIFAR-10")


def prepare(official: Any, *, root: Path, files: Sequence[str], name: str) -> None:
    """Download and unpack the archive of one of torchvision's CIFAR classes, unless all files are there."""
    folder, archive = root / official.base_folder, root / official.filename
    if all((folder / file).is_file() for file in files):
        return
    try:
        if not archive.is_file():
            fetch([official.url], archive, expected=official.tgz_md5)
        extract(archive, root)
    except OSError as error:
        raise not_found(name=name, path=folder, page=PAGE, reason=f"Download failed: {error}.") from error


def read_mapping(path: Path, keys: Sequence[str], *, name: str) -> list[Any]:
    """Return the values of some keys of a pickled dictionary; errors name the file and what it lacks."""
    if not path.is_file():
        layout = f"{path.parent.name}/{path.name} and its sisters, as the archive unpacks them"
        raise not_found(name=name, path=path, page=PAGE, layout=layout)
    content = read_pickle(path)
    if not isinstance(content, Mapping) or any(key not in content for key in keys):
        found = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(
            f"{path} is no {name} file: expected {' and '.join(keys)}, found {found or 'nothing'}"
        )
    return [content[key] for key in keys]


def read_batches(
    files: Sequence[Path], key: str, *, classes: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Read and chain batch files: images (N, 32, 32, 3) uint8 and labels (N,) int64."""
    parts = [_read_batch(path, key, classes=classes, name=name) for path in files]
    flat = np.concatenate([images for images, _ in parts])  # (N, 3072), planes of red, green and blue
    images = np.ascontiguousarray(flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return images, np.concatenate([labels for _, labels in parts])


def _read_batch(path: Path, key: str, *, classes: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    pixels, numbers = read_mapping(path, ["data", key], name=name)
    try:
        images, labels = np.asarray(pixels), np.asarray(numbers)
    except ValueError as error:  # lists of unequal length
        raise ValueError(f"{path} is no {name} batch: {error}") from error
    if images.dtype != np.uint8 or images.shape != (labels.size, 3072):
        raise ValueError(
            f"{path}: images {images.dtype} {images.shape}, expected uint8 ({labels.size}, 3072)"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{path}: {key} is {labels.dtype} {labels.shape}, expected whole numbers (N,)")
    return images, check_labels(labels, classes=classes, path=path)
