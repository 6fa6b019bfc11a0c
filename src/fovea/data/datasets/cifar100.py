"""Load CIFAR-100 from torchvision's folder layout, without running code that a pickle names."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Unpack

from fovea.data.datasets.cifar10 import CIFAR10
from fovea.data.sources import FileOptions


class CIFAR100(CIFAR10):
    """The 100-class subset of the 80 million tiny images, or its 20 superclasses with `coarse`.

    Splits: train 50,000 and test 10,000 colour images of 32×32, 100 balanced classes of 500 + 100 images.
    Licence: none is stated; research use with citation. Files: `root/cifar-100-python/{train,test,meta}`,
    the class names are those of `meta`.
    Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """

    name = "CIFAR-100"
    home: ClassVar[str] = "cifar-100-python"
    also: ClassVar[tuple[str, ...]] = ("cifar100",)
    layout: ClassVar[str] = "cifar-100-python/{train,test,meta}, as the archive unpacks them"

    def __init__(self, *, coarse: bool = False, **options: Unpack[FileOptions]) -> None:
        self.kind, self.count = ("coarse", 20) if coarse else ("fine", 100)
        super().__init__(**options)

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """Read the images of a split with their labels."""
        path, key = self.folder_in(root) / "meta", f"{self.kind}_label_names"
        (names,) = self.read_mapping(path, [key])
        if not isinstance(names, list) or len(set(map(str, names))) != self.count:
            raise ValueError(
                f"{path}: {key} must list {self.count} different names: delete it and get it again"
            )
        self.classes = [str(name) for name in names]
        return self.read_batches([self.folder_in(root) / split], f"{self.kind}_labels")

    @classmethod
    def fetch_files(cls, root: Path, **options: object) -> None:
        """Download and unpack the archive unless its files are there."""
        from torchvision.datasets import CIFAR100 as Official

        cls.fetch_archive(Official, root, ["train", "test", "meta"])
