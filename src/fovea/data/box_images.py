"""The base of data sets whose images have any number of boxes each, in annotation files of one's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from fovea.data.formats.bad_boxes import find_bad, report_bad
from fovea.data.formats.objects import Objects, check_policy, settle
from fovea.data.packed import Paths, Ragged, Strings
from fovea.data.sources import FileImages, check_split
from fovea.page.formats import counted
from fovea.types import Sample


class Annotated(NamedTuple):
    """One image with its objects."""

    name: str  # of the image, relative to the root
    objects: Objects
    size: tuple[int, int] | None  # width and height, as the annotation states them
    file: Path | None  # with its annotation; None where it has none: an image without objects


class BoxImages(FileImages):
    """Images with boxes, their classes, and which of them to ignore.

    A subclass says in `read` what the annotations of a split hold. Images without objects stay: they are
    negatives. Boxes that have no area or reach out of their image are dealt with as `bad_boxes` says (error,
    drop or clip), and are named and counted once; `classes` are names in an order of one's own.
    """

    targets: tuple[str, ...] = ("boxes", "labels", "ignore")
    labels: np.ndarray | None = None
    splits: ClassVar[tuple[str, ...]] = ("all", "train", "val", "test")
    shares = False  # boxes are shares of the width and height, not pixels

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "all",
        classes: Sequence[str] | None = None,
        bad_boxes: str = "error",
        channels: int = 3,
    ) -> None:
        self.root, self.bad_boxes, self.channels = Path(root), check_policy(bad_boxes), channels
        check_split(split, self.find_splits(root=root))
        self.classes = self.find_classes(root=root, classes=classes)
        self._keep(self.read(self.root, split))

    def read(self, root: Path, split: str) -> list[Annotated]:
        """Return the images of a split, with objects numbered after `self.classes`."""
        raise NotImplementedError

    @classmethod
    def find_splits(cls, *, root: str | Path, **options: object) -> tuple[str, ...]:
        """Return the splits that there are."""
        raise NotImplementedError

    @classmethod
    def find_classes(
        cls, *, root: str | Path, classes: Sequence[str] | None = None, **options: object
    ) -> list[str]:
        """Return the class names: those given, or those of the annotations of all splits."""
        raise NotImplementedError

    def _keep(self, images: Sequence[Annotated]) -> None:
        """Pack the images; ValueError lists the bad boxes where `bad_boxes` is error."""
        self.ids = Strings(image.name for image in images)
        self.paths = Paths(self.root, self.ids)
        self._files = Strings(str(image.file or "") for image in images)
        self._boxes = Ragged([image.objects.boxes for image in images], shape=(4,))
        self._labels = Ragged([image.objects.labels for image in images], dtype=np.int64)
        self._ignore = Ragged([image.objects.ignore for image in images], dtype=bool)
        stated = [image.size or (0, 0) for image in images]
        self._stated = np.array(stated, dtype=np.int64).reshape(-1, 2)  # (N, 2), 0 where nothing is said
        bad = [line for image in images for line in self._bad(image)]
        report_bad(bad, root=self.root, policy=self.bad_boxes)

    def _bad(self, image: Annotated) -> list[str]:
        """Say of each bad box of an image what is wrong."""
        found = find_bad(
            image.objects.boxes, photo=self.root / image.name, name=image.name,
            stated=image.size, shares=self.shares,
        )  # fmt: skip
        return [f"{image.file}: {text}" for _, text in found]

    def raw_boxes(self, index: int) -> np.ndarray:
        """Return the boxes (N, 4) as the file says, in pixels."""
        from fovea.data.images import read_size

        boxes = self._boxes[index]
        return boxes * np.tile(read_size(self.paths[index]), 2) if self.shares else boxes

    def stated_size(self, index: int) -> tuple[int, int] | None:
        """Return the width and height that the annotation states, None where it says nothing."""
        width, height = self._stated[index].tolist()
        return (width, height) if width and height else None

    def files(self, index: int) -> dict[str, Path]:
        """Return the image, and the file with its annotation where it has one."""
        file = self._files[index]
        return {"image": self.paths[index], **({"annotation": Path(file)} if file else {})}

    def annotate(self, index: int, image: np.ndarray) -> Sample:
        """Return boxes, labels and ignore."""
        height, width = image.shape[:2]
        boxes = self._boxes[index]
        boxes = boxes * np.array([width, height] * 2, dtype=np.float32) if self.shares else boxes
        found = settle(
            Objects(boxes, self._labels[index], self._ignore[index]),
            width=width, height=height, bad_boxes=self.bad_boxes, where=self._files[index],
        )  # fmt: skip
        return {"boxes": found.boxes, "labels": found.labels, "ignore": found.ignore}


def class_names(found: Iterable[str], *, classes: Sequence[str] | None, where: object) -> list[str]:
    """Return the names given, which must cover those found, or the sorted names found."""
    counts = Counter(found)
    if classes is None:
        if not counts:
            raise ValueError(f"{where} has no object: set data.dataset.classes=[…], or add annotations")
        return sorted(counts)
    names = check_names(classes)
    if unknown := sorted(set(counts) - set(names)):
        raise ValueError(
            f"{where} has {counted(counts[unknown[0]], 'object')} of class {unknown[0]!r}, which is not in "
            f"data.dataset.classes={names}: add it, or correct the annotations"
        )
    return names


def check_names(classes: Sequence[str], *, where: object = "data.dataset.classes") -> list[str]:
    """Return class names as strings; ValueError where they are not distinct."""
    names = [str(name) for name in classes]
    if not names or len(set(names)) != len(names) or not all(names):
        raise ValueError(f"{where} has the names {names}: they must be distinct, one at least")
    return names
