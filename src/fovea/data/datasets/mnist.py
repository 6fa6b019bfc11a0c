"""Load MNIST from torchvision's folder layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from fovea.data.fetch.download import fetch
from fovea.data.formats.idx import read_idx
from fovea.data.sources import ArrayImages, Published, check_labels

PREFIX = {"train": "train", "test": "t10k"}


class MNIST(Published, ArrayImages):
    """Handwritten digits, the oldest benchmark still in use.

    Splits: train 60,000 and test 10,000 grey images of 28×28, 10 roughly balanced classes.
    Licence: CC BY-SA 3.0. Files: `root/MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]`.
    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    official: Mapping[str, int] = {"train": 60_000, "test": 10_000}
    name = "MNIST"
    home: ClassVar[str] = "MNIST"  # also what torchvision calls its class
    page: ClassVar[str] = "https://github.com/cvdfoundation/mnist"
    layout: ClassVar[str] = "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz (or without .gz)"
    names: ClassVar[str] = "0,1,2,3,4,5,6,7,8,9"

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """Read the images of a split with their labels."""
        self.classes, raw = self.names.split(","), self._raw(root)
        path = self._find(raw, f"{PREFIX[split]}-images-idx3-ubyte")
        self.images = read_idx(path, ndim=3)[..., None]
        if self.images.shape[1:3] != (28, 28):
            raise ValueError(f"{path} holds images of {self.images.shape[1:3]} pixels, expected 28×28")
        path = self._find(raw, f"{PREFIX[split]}-labels-idx1-ubyte")
        self.labels = check_labels(read_idx(path, ndim=1), classes=len(self.classes), path=path)
        if len(self.labels) != len(self.images):
            raise ValueError(f"{path} has {len(self.labels)} labels for {len(self.images)} images")
        return len(self)

    @classmethod
    def fetch_files(cls, root: Path, **options: object) -> None:
        """Download those of the four files that are missing."""
        import torchvision.datasets

        official, raw = getattr(torchvision.datasets, cls.home), cls._raw(root)
        for file, md5 in official.resources:
            if not any((raw / n).is_file() for n in (file, file.removesuffix(".gz"))):
                fetch([mirror + file for mirror in official.mirrors], raw / file, expected=md5)

    @classmethod
    def _raw(cls, root: Path) -> Path:
        """Return the folder of the four files, which may lie in that of the set itself."""
        folder = cls.folder_in(root)
        flat = any(folder.glob("*-ubyte*")) and not (folder / "raw").is_dir()
        return folder if flat else folder / "raw"

    @classmethod
    def _find(cls, raw: Path, file: str) -> Path:
        for path in (raw / f"{file}.gz", raw / file):
            if path.is_file():
                return path
        raise cls.missing(raw / f"{file}.gz")
