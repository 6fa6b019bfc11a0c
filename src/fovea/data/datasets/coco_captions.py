"""Load COCO 2017 with five descriptions of each image."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.formats.coco_files import CocoFiles
from fovea.data.formats.coco_json import column, group, numbers, positions, table
from fovea.data.packed import Paths, Strings
from fovea.types import Sample


class COCOCaptions(CocoFiles):
    """Everyday scenes, each described by five people or more.

    Splits: train 118,287 photos with 591,753 sentences, and test 5,000 with 25,014. The annotations of
    the official test images are not public: the official val is called `test`, val is cut from train. No
    classes. Space around and between the words of a sentence is made even. Licence: annotations CC BY
    4.0, photos under Flickr's terms.
    Files: `root/coco/{train2017,val2017}/*.jpg`, `root/coco/annotations/captions_{train,val}2017.json`.
    Chen and others, "Microsoft COCO captions: data collection and evaluation server", 2015,
    arXiv:1504.00325.
    """

    kind: ClassVar[str] = "captions"
    targets: tuple[str, ...] = ("captions",)

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """List the images of a split with their captions."""
        self.labels, self.classes = None, []
        document, _, names, there = self.read_file(root, split=split, subset=subset)
        images, rows = (table(document, key, path=self.file) for key in ("images", "annotations"))
        self._read_captions(images, rows, there)
        self.ids = Strings(f"{self.folder.name}/{names[i]}" for i in there)
        self.paths = Paths(self.folder.parent, self.ids)
        return len(self)

    def _read_captions(self, images: list[dict], rows: list[dict], picked: np.ndarray) -> None:
        path = self.file
        known = numbers(column(images, "id", path=path, what="images"), path=path, what="id")
        owners = numbers(column(rows, "image_id", path=path, what="annotations"), path=path, what="image_id")
        owner = positions(owners, known, path=path, what="image id")
        texts = [
            " ".join(str(text).split()) for text in column(rows, "caption", path=path, what="annotations")
        ]
        order, start = group(owner, len(known))
        self._captions = Strings(texts[i] for i in order)
        self._spans = np.stack([start[picked], start[picked + 1]], axis=1)  # (N, 2)
        if (bare := np.flatnonzero(self._spans[:, 0] == self._spans[:, 1])).size:
            raise ValueError(f"{path} has no caption of the image {known[picked[bare[0]]]}: get it again")

    def sentences(self, index: int) -> list[str]:
        """Return the descriptions of one image, without reading it."""
        return self._captions[slice(*self._spans[index].tolist())]

    def annotate(self, index: int, image: np.ndarray) -> Sample:
        """Return the descriptions."""
        return {"captions": self.sentences(index)}
