"""Load COCO 2017 with boxes, and with instance masks where asked for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np

from fovea.data.formats.coco_files import CocoFiles
from fovea.data.formats.coco_json import column, numbers, table
from fovea.data.formats.coco_masks import draw_instances, read_shapes
from fovea.data.formats.coco_objects import read_categories, read_coco_objects
from fovea.data.packed import Paths, Strings
from fovea.data.sources import FileOptions, check_boxes
from fovea.types import Sample

log = logging.getLogger(__name__)


class COCO(CocoFiles):
    """Everyday scenes with the boxes, and the masks, of 80 kinds of objects.

    Splits: train 118,287 and test 5,000 photos. The annotations of the official test images are not
    public: the official val is called `test`, val is cut from train. The classes are the 80 in use of the
    category ids 1 to 90, in their order; `category_ids` says which. Licence: annotations CC BY 4.0,
    photos under Flickr's terms.
    Files: `root/coco/{train2017,val2017}/*.jpg`, `root/coco/annotations/instances_{train,val}2017.json`.
    Boxes are x, y, width, height in the files; those without area are left out. Crowds are `ignore`, and
    255 in the masks. `keep_empty=False` leaves out images without objects.
    Lin and others, "Microsoft COCO: common objects in context", 2014, arXiv:1405.0312.
    """

    kind: ClassVar[str] = "instances"
    labels: np.ndarray | None = None

    def __init__(
        self, *, masks: bool = False, keep_empty: bool = True, **options: Unpack[FileOptions]
    ) -> None:
        self.masks, self.keep_empty = masks, keep_empty
        self.targets = ("boxes", "labels", "ignore", *(["instances"] if masks else []))
        super().__init__(**options)

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """List the images of a split with their objects."""
        document, self._places, names, there = self.read_file(root, split=split, subset=subset)
        self._read_objects(document)
        self._choose(names, there if self.keep_empty else there[self._count_valid()[there] > 0])
        return len(there)

    def _read_objects(self, document: dict[str, Any]) -> None:
        """Keep the boxes (M, 4), labels, ignore and places of outlines, those of one image side by side."""
        categories = read_categories(document, path=self.file)
        self.category_ids, self.classes = categories
        rows = table(document, "images", path=self.file)
        self._known = numbers(column(rows, "id", path=self.file, what="images"), path=self.file, what="id")
        found = read_coco_objects(document, categories, path=self.file)
        self._boxes, self._labels, self._crowd, self._start = (
            found.boxes, found.labels, found.crowd, found.start,
        )  # fmt: skip
        rows = table(document, "annotations", path=self.file)
        places = np.concatenate([self._places, np.zeros((1, 2), np.int64)])  # the last: of no outline
        self._places = places[_outlines(rows, len(self._places))][found.order]
        self._valid = np.all(self._boxes[:, 2:] > self._boxes[:, :2], axis=1)
        if lost := int((~self._valid).sum()):
            log.info("%s: left out %d boxes without area", self.file, lost)

    def _count_valid(self) -> np.ndarray:
        total = np.concatenate([[0], np.cumsum(self._valid)])
        return np.diff(total[self._start])

    def _choose(self, names: list[str], picked: np.ndarray) -> None:
        """Keep the images that are there; their objects stay where they are."""
        self._spans = np.stack([self._start[picked], self._start[picked + 1]], axis=1)  # (N, 2)
        self.ids = Strings(f"{self.folder.name}/{names[i]}" for i in picked)
        self.image_ids = self._known[picked]
        self.paths = Paths(self.folder.parent, self.ids)

    def raw_boxes(self, index: int) -> np.ndarray:
        """Return all boxes (N, 4) as the file says, as x1 y1 x2 y2, also those without area."""
        return self._boxes[slice(*self._spans[index])]

    def annotate(self, index: int, image: np.ndarray) -> Sample:
        """Return boxes, labels and ignore, and the instances where wanted."""
        rows = np.arange(*self._spans[index])
        rows = rows[self._valid[rows]]
        sample: Sample = {
            "boxes": check_boxes(self._boxes[rows], image, path=self._where(index)),
            "labels": self._labels[rows],
            "ignore": self._crowd[rows],
        }
        if self.masks:
            height, width = image.shape[:2]
            shapes = read_shapes(self.file, self._places[rows])
            sample["instances"] = draw_instances(
                shapes, crowd=sample["ignore"], height=height, width=width, path=self._where(index)
            )
        return sample

    def _where(self, index: int) -> Path:
        return self.file / self.ids[index]  # no file, but the place that an error message names


def _outlines(rows: list[dict[str, Any]], count: int) -> np.ndarray:
    """Return the number of the outline of each object (M,), -1 where it has none."""
    found = [row.get("segmentation") for row in rows]
    return np.array([n if isinstance(n, int) and 0 <= n < count else -1 for n in found], dtype=np.int64)
