"""Load CIFAR-100 from torchvision's folder layout, without running code that a pickle names."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from fovea.data.datasets.cifar10 import prepare, read_batches, read_mapping
from fovea.data.sources import ArrayImages, check_count, check_split

NAME, FOLDER = "CIFAR-100", "cifar-100-python"


class CIFAR100(ArrayImages):
    """The 100-class subset of the 80 million tiny images, or its 20 superclasses with `coarse`.

    Splits: train 50,000 and test 10,000 colour images of 32×32, 100 balanced classes of 500 + 100 images.
    Licence: none is stated; research use with citation. Files: `root/cifar-100-python/{train,test,meta}`,
    the class names are those of `meta`.
    Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    official: ClassVar[dict[str, int]] = {"train": 50_000, "test": 10_000}

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train",
        coarse: bool = False,
        download: bool = False,
        subset: bool = False,
    ) -> None:
        self.split = check_split(split, self.splits)
        if download:
            self.prepare(root=root)
        folder, kind = Path(root) / FOLDER, "coarse" if coarse else "fine"
        self.classes = _class_names(folder / "meta", f"{kind}_label_names", expected=20 if coarse else 100)
        self.images, self.labels = read_batches(
            [folder / split], f"{kind}_labels", classes=len(self.classes), name=NAME
        )
        check_count(NAME, split, found=len(self), official=self.official, subset=subset)

    @classmethod
    def prepare(
        cls, *, root: str | Path, coarse: bool = False, download: bool = True, subset: bool = False
    ) -> None:
        """Download and unpack the archive unless its files are there."""
        from torchvision.datasets import CIFAR100 as Official

        prepare(Official, root=Path(root), files=["train", "test", "meta"], name=NAME)


def _class_names(path: Path, key: str, *, expected: int) -> list[str]:
    (names,) = read_mapping(path, [key], name=NAME)
    if not isinstance(names, list) or len(set(map(str, names))) != expected:
        raise ValueError(f"{path}: {key} must list {expected} different names: delete it and get it again")
    return [str(name) for name in names]
