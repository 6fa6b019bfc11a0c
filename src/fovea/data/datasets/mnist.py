"""Load MNIST from torchvision's folder layout."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from fovea.data.fetch.download import fetch
from fovea.data.fetch.missing import not_found
from fovea.data.formats.idx import read_idx
from fovea.data.sources import ArrayImages, check_count, check_labels, check_split

PREFIX = {"train": "train", "test": "t10k"}


class MNIST(ArrayImages):
    """Handwritten digits, the oldest benchmark still in use.

    Splits: train 60,000 and test 10,000 grey images of 28×28, 10 roughly balanced classes.
    Licence: CC BY-SA 3.0. Files: `root/MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]`.
    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    official: ClassVar[dict[str, int]] = {"train": 60_000, "test": 10_000}
    name: ClassVar[str] = "MNIST"
    folder: ClassVar[str] = "MNIST"  # also what torchvision calls its class
    page: ClassVar[str] = "https://github.com/cvdfoundation/mnist"
    names: ClassVar[str] = "0,1,2,3,4,5,6,7,8,9"

    def __init__(
        self, *, root: str | Path, split: str = "train", download: bool = False, subset: bool = False
    ) -> None:
        self.split = check_split(split, self.splits)
        self.classes = self.names.split(",")
        if download:
            self.prepare(root=root)
        raw = Path(root) / self.folder / "raw"
        path = self._find(raw, f"{PREFIX[split]}-images-idx3-ubyte")
        self.images = read_idx(path, ndim=3)[..., None]
        if self.images.shape[1:3] != (28, 28):
            raise ValueError(f"{path} holds images of {self.images.shape[1:3]} pixels, expected 28×28")
        path = self._find(raw, f"{PREFIX[split]}-labels-idx1-ubyte")
        self.labels = check_labels(read_idx(path, ndim=1), classes=len(self.classes), path=path)
        if len(self.labels) != len(self.images):
            raise ValueError(f"{path} has {len(self.labels)} labels for {len(self.images)} images")
        check_count(self.name, split, found=len(self), official=self.official, subset=subset)

    @classmethod
    def prepare(cls, *, root: str | Path, download: bool = True, subset: bool = False) -> None:
        """Download those of the four files that are missing."""
        import torchvision.datasets

        official = getattr(torchvision.datasets, cls.folder)
        raw = Path(root) / cls.folder / "raw"
        for file, md5 in official.resources:
            if not any((raw / n).is_file() for n in (file, file.removesuffix(".gz"))):
                try:
                    fetch([mirror + file for mirror in official.mirrors], raw / file, expected=md5)
                except OSError as error:
                    raise cls._missing(raw / file, reason=f"Download failed: {error}.") from error

    @classmethod
    def _find(cls, raw: Path, file: str) -> Path:
        for path in (raw / f"{file}.gz", raw / file):
            if path.is_file():
                return path
        raise cls._missing(raw / f"{file}.gz")

    @classmethod
    def _missing(cls, path: Path, *, reason: str = "") -> FileNotFoundError:
        layout = f"{cls.folder}/raw/{{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte.gz (or without .gz)"
        return not_found(name=cls.name, path=path, page=cls.page, reason=reason, layout=layout)
