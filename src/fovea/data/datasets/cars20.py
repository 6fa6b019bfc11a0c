"""Load Cars-20, the car models of a course lab on bilinear networks, from arrays or class folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from fovea.data.formats.arrays_or_folder import ArraysOrFolder, absent, find_layout
from fovea.data.formats.listing import describe, visible_folders
from fovea.data.formats.npy import lowest_label

COUNT = 20
ARRAYS = ("x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy")
LAYOUT = """
cars20/{x_train,y_train,x_test,y_test}.npy   as the archive of the lab unpacks them, or
cars20/{train,test}/<model>/*.jpg            with 20 models
"""
PAGE = "https://github.com/RParedesPalacios/ComputerVisionLab (src/cars1.py names the archive, data.tgz)"


class Cars20(ArraysOrFolder):
    """Photos of 20 car models.

    Splits: train 791 and test 784 colour images of 250×250, 20 classes.
    Licence: none is stated; teaching use.
    Files: `root/cars20/{x_train,y_train,x_test,y_test}.npy` with images uint8 (N, H, W, 3) and labels (N,) or
    one-hot (N, 20), or `root/cars20/{train,test}/<model>/*.jpg`. Labels count from 1, as in the lab, unless a
    0 is among them. Class names are the lines of `root/cars20/classes.txt` or the folder names, else numbers.
    R. Paredes, ComputerVisionLab, https://github.com/RParedesPalacios/ComputerVisionLab.
    """

    name, home, page, layout, offered = "Cars-20", "cars20", PAGE, LAYOUT, False
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    official: Mapping[str, int] = {"train": 791, "test": 784}

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """List the images of a split, from arrays or folders."""
        folder = self.folder_in(root)
        if _layout(folder) == "arrays":
            self.classes = _array_classes(folder)
            self.use_arrays(folder, first=_first_label(folder))
        else:
            self.classes = _folder_classes(folder / "train")
            self.use_folder(folder)
        return len(self)

    @classmethod
    def fetch_files(cls, root: Path, **options: object) -> None:
        """Raise FileNotFoundError with instructions unless the files are there: no source with checksums."""
        _layout(cls.folder_in(root))


def _layout(folder: Path) -> str:
    layout = find_layout(folder, {"arrays": "x_train.npy", "folder": "train"})
    if layout is None:
        raise Cars20.missing(folder / "x_train.npy")
    lacking = absent(folder, ARRAYS if layout == "arrays" else ("train", "test"))
    if lacking:
        raise Cars20.missing(lacking[0])
    return layout


def _first_label(folder: Path) -> int:
    """Return 1 where the labels count from 1, by the files of both splits so that these agree."""
    lowest = min(lowest_label(folder / f"y_{split}.npy", classes=COUNT) for split in ("train", "test"))
    return min(1, max(0, lowest))


def _array_classes(folder: Path) -> list[str]:
    path = folder / "classes.txt"
    if not path.is_file():
        return [f"model {number:02d}" for number in range(1, COUNT + 1)]
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(names) != COUNT or len(set(names)) != COUNT:
        raise ValueError(
            f"{path} has {len(set(names))} different names in {len(names)} lines, expected {COUNT}"
        )
    return names


def _folder_classes(folder: Path) -> list[str]:
    names = list(visible_folders(folder))
    if len(names) != COUNT:
        raise ValueError(f"{folder} needs {COUNT} folders, one per model; it holds {describe(folder)}")
    return names
