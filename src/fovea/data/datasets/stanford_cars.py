"""Load Stanford Cars from torchvision's folder layout: the model of the car, and the box around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.formats.listing import present
from fovea.data.formats.matlab import read_matlab
from fovea.data.packed import Paths, Strings
from fovea.data.sources import PublishedImages, check_boxes, check_labels
from fovea.types import Sample

PAGE = "the official server is gone; https://github.com/pytorch/vision/issues/7545 names where the files are"
TABLES = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
LAYOUT = """
stanford_cars/devkit/cars_meta.mat
stanford_cars/devkit/cars_train_annos.mat
stanford_cars/cars_test_annos_withlabels.mat   (cars_test_annos.mat has no labels)
stanford_cars/cars_train/00001.jpg … 08144.jpg
stanford_cars/cars_test/00001.jpg … 08041.jpg
"""


class StanfordCars(PublishedImages):
    """Photos of 196 car models, distinguished by make, model and year.

    Splits: train 8,144 and test 8,041 photos of many sizes, about 41 + 41 a class. One box per photo, around
    the car; its class is the label. The files count pixels from 1 and include the last one: 1 is subtracted
    from x1 and y1. Licence: none is stated; research use, not commercial.
    Files: `root/stanford_cars/{devkit/cars_meta.mat,devkit/cars_train_annos.mat,
    cars_test_annos_withlabels.mat,cars_train/*.jpg,cars_test/*.jpg}`.
    Krause, Stark, Deng and Fei-Fei, "3D object representations for fine-grained categorization", 2013.
    """

    name, home, page, layout, offered = "Stanford Cars", "stanford_cars", PAGE, LAYOUT, False
    also: ClassVar[tuple[str, ...]] = ("cars", "cars196")
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    targets: tuple[str, ...] = ("label", "boxes", "labels")
    official: Mapping[str, int] = {"train": 8144, "test": 8041}
    labels: np.ndarray

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """List the images of a split with their labels and boxes."""
        folder = self.folder_in(root)
        self.table = folder / TABLES[split]
        self.classes = _class_names(folder / "devkit" / "cars_meta.mat")
        names, boxes, numbers = _annotations(self.table)
        kept = present(names, folder / f"cars_{split}", subset=subset, error=self.missing)
        self.ids = Strings(f"cars_{split}/{names[i]}" for i in kept)
        self.paths = Paths(folder, self.ids)
        self.labels = check_labels(numbers - 1, classes=len(self.classes), path=self.table)[kept]
        self._boxes = boxes[kept]  # (N, 4) xyxy
        return len(self)

    @classmethod
    def fetch_files(cls, root: Path, **options: object) -> None:
        """Raise FileNotFoundError with instructions unless the tables are there."""
        folder = cls.folder_in(root)
        for path in (folder / "devkit" / "cars_meta.mat", *(folder / table for table in TABLES.values())):
            _require(path)

    def raw_boxes(self, index: int) -> np.ndarray:
        """Return the box (1, 4) xyxy as the table says it."""
        return self._boxes[[index]]

    def annotate(self, index: int, image: np.ndarray) -> Sample:
        """Return the box of the car and its class."""
        boxes = check_boxes(self.raw_boxes(index), image, path=self.paths[index])
        return {"boxes": boxes, "labels": self.labels[[index]]}


def _require(path: Path) -> Path:
    if not path.is_file():
        raise StanfordCars.missing(path)
    return path


def _class_names(path: Path) -> list[str]:
    names = [str(name) for name in read_matlab(_require(path), "class_names")]
    if len(set(names)) != 196:
        raise ValueError(f"{path} names {len(set(names))} different classes, expected 196: get it again")
    return names


def _annotations(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return file names, boxes (N, 4) float32 xyxy and class numbers (N,), which count from 1."""
    table = read_matlab(_require(path), "annotations")
    absent = [field for field in FIELDS if field not in (table.dtype.names or ())]
    if absent:
        raise ValueError(f"{path}: annotations lack {', '.join(absent)}, found {table.dtype.names}")
    try:
        corners = np.stack([table[field].astype(np.float32) for field in FIELDS[:4]], axis=1)
        numbers = table["class"].astype(np.int64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: a box or class is not a number ({error}): get it again") from error
    names = [str(name) for name in table["fname"]]
    odd = [name for name in names if Path(name).name != name]
    if odd or len(set(names)) < len(names):
        twice = odd or [name for name in names if names.count(name) > 1]
        raise ValueError(
            f"{path} names the image {twice[0]!r} {'twice' if not odd else 'outside its folder'}"
        )
    return names, corners - np.array([1, 1, 0, 0], dtype=np.float32), numbers
