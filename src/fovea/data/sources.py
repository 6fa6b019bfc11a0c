"""Base classes of data sets: images in memory, image files, published data sets with official splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Required, TypedDict

import numpy as np

from fovea.data.fetch.missing import FAILED, not_found
from fovea.data.formats.home import find_home
from fovea.page.formats import counted
from fovea.types import Sample


def check_split(split: str, known: Sequence[str]) -> str:
    """Return the split, or raise ValueError naming the known ones."""
    if split not in known:
        raise ValueError(f"split={split!r} is unknown: choose one of {', '.join(known)}")
    return split


def check_labels(labels: np.ndarray, *, classes: int, path: Path) -> np.ndarray:
    """Return labels as int64 (N,), or raise ValueError naming the file with a label out of range."""
    labels = np.asarray(labels).astype(np.int64).reshape(-1)
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f"{path} holds labels {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
    return labels


def check_count(name: str, split: str, *, found: int, official: Mapping[str, int], subset: bool) -> None:
    """Raise ValueError where a split has not the official number of images, unless a subset is wanted."""
    expected = official.get(split, found)
    if found != expected and not subset:
        raise ValueError(
            f"{name} {split} has {counted(found, 'image')}, officially {expected}: the files are incomplete "
            f"or changed. Get them again, or set data.subset=true to use what is there"
        )


def check_same_size(image: np.ndarray, mask: np.ndarray, *, path: Path) -> np.ndarray:
    """Return the mask (H, W), or raise ValueError naming its file where the image has another size."""
    if mask.shape[:2] != image.shape[:2]:
        raise ValueError(
            f"{path} is {mask.shape[1]}×{mask.shape[0]} pixels but its image "
            f"{image.shape[1]}×{image.shape[0]}: a mask must have the size of its image"
        )
    return mask


def check_boxes(boxes: np.ndarray, image: np.ndarray, *, path: Path) -> np.ndarray:
    """Return boxes as float32 (N, 4) cut to the image; ValueError names a file with one outside or empty."""
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    height, width = image.shape[:2]
    inside = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
    if not np.isfinite(boxes).all() or (inside[:, 2:] <= inside[:, :2]).any():
        bad = boxes[(inside[:, 2:] <= inside[:, :2]).any(axis=1) | ~np.isfinite(boxes).all(axis=1)][0]
        raise ValueError(
            f"{path} has the box {[float(v) for v in bad]} (x1, y1, x2, y2), which has no area inside the "
            f"{width}×{height} image: correct or remove it"
        )
    return inside


class ArrayImages:
    """Images of one size, already in memory as uint8 (N, H, W, C)."""

    source: ClassVar[str] = "real"
    targets: tuple[str, ...] = ("label",)
    images: np.ndarray  # (N, H, W, C) uint8
    labels: np.ndarray | None
    classes: list[str]
    split: str

    @cached_property
    def ids(self) -> Sequence[str]:
        """Name every image by its split and position."""
        return [f"{self.split}/{i:05d}" for i in range(len(self))]

    def __len__(self) -> int:
        return len(self.images)

    def load(self, index: int) -> Sample:
        """Return one image with its label."""
        sample: Sample = {"image": self.images[index]}
        if self.labels is not None:
            sample["label"] = int(self.labels[index])
        return sample


class FileImages:
    """Images in files, decoded one at a time; a subclass with further annotations overrides `annotate`."""

    source: ClassVar[str] = "real"
    targets: tuple[str, ...] = ("label",)
    paths: Sequence[Path]
    ids: Sequence[str]
    labels: np.ndarray | None
    classes: list[str]
    channels: int
    enough: int | None = None  # of the shorter side, for what the images are read for; None: all there is

    def __len__(self) -> int:
        return len(self.paths)

    def reduce(self, side: int | None) -> None:
        """Decode large photos no larger than a side needs, where no annotation counts their pixels."""
        self.enough = side if set(self.targets) <= {"label", "captions"} else None

    def load(self, index: int) -> Sample:
        """Decode one image (H, W, channels) with all its annotations; errors name the file."""
        from fovea.data.images import read_image

        image = read_image(self.paths[index], channels=self.channels, enough=self.enough)
        sample: Sample = {"image": image}
        if self.labels is not None:
            sample["label"] = int(self.labels[index])
        return {**sample, **self.annotate(index, image)}

    def annotate(self, index: int, image: np.ndarray) -> Sample:
        """Return the annotations beyond the label of one image (H, W, C)."""
        return {}

    def files(self, index: int) -> dict[str, Path]:
        """Return the files of one sample by what they hold, such as image and mask."""
        return {"image": self.paths[index]}


class FileOptions(TypedDict, total=False):
    """The keywords of every published data set of image files."""

    root: Required[str | Path]
    split: str | None  # None: the first that there is
    channels: int
    download: bool
    subset: bool  # whether fewer images than officially will do


class Published:
    """A published data set with official splits; a subclass reads a split in `read`.

    `channels` matters where images are files.
    """

    name: str  # as people say it
    splits: ClassVar[tuple[str, ...]]
    official: Mapping[str, int]  # how many images each split has
    own: Mapping[str, Any] = {}  # what a subclass was given that decides which files it needs
    home: ClassVar[str]  # its folder below the root
    also: ClassVar[tuple[str, ...]] = ()  # other names that people give it
    page: ClassVar[str]  # where people find it
    layout: ClassVar[str] = ""  # of its files below the root
    offered: ClassVar[bool] = True  # whether its files can be downloaded
    split: str

    def __init__(
        self,
        *,
        root: str | Path,
        split: str | None = None,
        channels: int = 3,
        download: bool = False,
        subset: bool = False,
    ) -> None:
        known = self.find_splits(root=root, **self.own)
        self.split, self.channels = check_split(known[0] if split is None else split, known), channels
        if download:
            self.prepare(root=root, **self.own)
        found = self.read(Path(root), split=self.split, subset=subset)
        check_count(self.name, self.split, found=found, official=self.official, subset=subset)

    @classmethod
    def folder_in(cls, root: Path) -> Path:
        """Return the folder of the set: `home` in the root, or where people have it."""
        return find_home(root, (cls.home, *cls.also))

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """Set `paths`, `ids`, `labels` and `classes` of a split; return how many of its images are there."""
        raise NotImplementedError

    @classmethod
    def find_splits(cls, *, root: str | Path, **options: Any) -> tuple[str, ...]:
        """Return the splits that there are; the options are those of the constructor."""
        return cls.splits

    @classmethod
    def prepare(cls, *, root: str | Path, **options: Any) -> None:
        """Download what is missing, or raise FileNotFoundError that says how to get it."""
        try:
            cls.fetch_files(Path(root), **options)
        except OSError as error:
            explained = isinstance(error, FileNotFoundError) and error.errno is None  # by `missing`
            if explained or not cls.offered:
                raise
            raise cls.missing(Path(root) / cls.home, f"{FAILED}: {error}.") from error

    @classmethod
    def fetch_files(cls, root: Path, **options: Any) -> None:
        """Download what is missing; the options are those of the constructor."""
        raise NotImplementedError

    @classmethod
    def missing(cls, path: Path, reason: str = "") -> FileNotFoundError:
        """Build the error for files that are not there."""
        return not_found(
            name=cls.name, path=path, page=cls.page, reason=reason, layout=cls.layout, download=cls.offered
        )


class PublishedImages(Published, FileImages):
    """A published data set of image files."""
