"""Load Fashion-MNIST from torchvision's folder layout."""

from __future__ import annotations

import gzip
import logging
import struct
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.download import fetch, not_found
from fovea.data.sources import ArrayImages, check_labels, check_split

log = logging.getLogger(__name__)
PAGE = "https://github.com/zalandoresearch/fashion-mnist"
PREFIX = {"train": "train", "test": "t10k"}
OFFICIAL = {"train": 60_000, "test": 10_000}
CLASSES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"


class FashionMNIST(ArrayImages):
    """Hold Zalando's article images, the harder drop-in for MNIST.

    Splits: train 60,000 and test 10,000 grey images of 28×28, 10 balanced classes. Licence: MIT.
    Files: `root/FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]`.
    Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", 2017, arXiv:1708.07747.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, *, root: str | Path, split: str = "train", download: bool = False) -> None:
        self.split = check_split(split, self.splits)
        self.classes = CLASSES.split(",")
        if download:
            self.prepare(root=root)
        raw = Path(root) / "FashionMNIST" / "raw"
        self.images = read_idx(_find(raw, f"{PREFIX[split]}-images-idx3-ubyte"), ndim=3)[..., None]
        path = _find(raw, f"{PREFIX[split]}-labels-idx1-ubyte")
        self.labels = check_labels(read_idx(path, ndim=1), classes=len(self.classes), path=path)
        if len(self.labels) != len(self.images):
            raise ValueError(f"{path} has {len(self.labels)} labels for {len(self.images)} images")
        if len(self.images) != OFFICIAL[split]:
            log.warning("%s: %d images, the official split has %d", raw, len(self.images), OFFICIAL[split])

    @classmethod
    def prepare(cls, *, root: str | Path, download: bool = True) -> None:
        """Download the four files that are missing."""
        from torchvision.datasets import FashionMNIST as Official

        raw = Path(root) / "FashionMNIST" / "raw"
        for name, md5 in Official.resources:
            if not any((raw / n).is_file() for n in (name, name.removesuffix(".gz"))):
                try:
                    fetch([mirror + name for mirror in Official.mirrors], raw / name, expected=md5)
                except OSError as error:
                    raise not_found(
                        name="Fashion-MNIST", path=raw / name, page=PAGE, reason=f"Download failed: {error}."
                    ) from error


def _find(raw: Path, name: str) -> Path:
    for path in (raw / f"{name}.gz", raw / name):
        if path.is_file():
            return path
    raise not_found(
        name="Fashion-MNIST",
        path=raw / f"{name}.gz",
        page=f"{PAGE}, or the offline packages with `make assets`",
    )


def read_idx(path: Path, *, ndim: int) -> np.ndarray:
    """Read a uint8 IDX array of `ndim` dimensions, gzipped or not; ValueError names a damaged file.

    The format is big-endian: 0, 0, type (8 = uint8), number of dimensions, each size as uint32, the data.
    """
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged ({error}): delete it and get it again") from error
    start = 4 + 4 * ndim
    if len(data) < start or data[:4] != bytes([0, 0, 8, ndim]):
        raise ValueError(f"{path} is no uint8 IDX file with {ndim} dimensions: it starts with {data[:4]!r}")
    shape = struct.unpack(f">{ndim}I", data[4:start])
    if len(data) - start != int(np.prod(shape)):
        raise ValueError(f"{path} is damaged: {len(data) - start} bytes for shape {shape}")
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)
