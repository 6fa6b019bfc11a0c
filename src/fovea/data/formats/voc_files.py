"""Locate and download the files of PASCAL VOC."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from fovea.data.fetch.download import install
from fovea.data.fetch.missing import not_found

log = logging.getLogger(__name__)
PAGE = "http://host.robots.ox.ac.uk/pascal/VOC/"
LISTS = {
    2007: {"train": "train", "val": "val", "test": "test"},
    2012: {"train": "train", "test": "val"},  # the annotations of the official test images are not public
}
ARCHIVES: dict[int, dict[str, tuple[str, ...]]] = {  # and the lists in each of them
    2007: {"2007": ("train", "val"), "2007-test": ("test",)},
    2012: {"2012": ("train", "val")},
}
FOLDERS = {"boxes": "Main", "masks": "Segmentation"}
LAYOUT = """VOCdevkit/{year}/JPEGImages/*.jpg
VOCdevkit/{year}/Annotations/*.xml
VOCdevkit/{year}/ImageSets/{{Main,Segmentation}}/{{train,val,test}}.txt
VOCdevkit/{year}/{{SegmentationClass,SegmentationObject}}/*.png"""


def prepare(root: str | Path, year: int, annotation: str) -> None:
    """Download and unpack the archives whose images are not all there."""
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    folder = Path(root) / "VOCdevkit" / f"VOC{year}"
    for name, parts in ARCHIVES[year].items():
        lists = [folder / "ImageSets" / FOLDERS[annotation] / f"{part}.txt" for part in parts]
        if all(path.is_file() and not lacking(folder, read_list(path)) for path in lists):
            continue
        source = DATASET_YEAR_DICT[name]
        try:
            archive = Path(root) / source["filename"]
            install(source["url"], archive, expected=source["md5"], folder=Path(root))
        except OSError as error:
            raise missing(folder, f"Download failed: {error}.") from error


def names(folder: Path, part: str, annotation: str, *, subset: bool) -> list[str]:
    """Return the names on an official list whose images are there; without `subset` all must be."""
    path = folder / "ImageSets" / FOLDERS[annotation] / f"{part}.txt"
    if not path.is_file():
        raise missing(path)
    listed = read_list(path)
    lost = lacking(folder, listed)
    if lost and (not subset or len(lost) == len(listed)):
        reason = f"{len(lost)} of the {len(listed)} images of {path.name} are missing."
        raise missing(folder / "JPEGImages" / f"{lost[0]}.jpg", reason)
    if lost:
        log.info("%s: %d of its %d images are there", path, len(listed) - len(lost), len(listed))
    without = set(lost)
    return [name for name in listed if name not in without]


def listing(folder: Path) -> set[str]:
    """Return the names of the visible files of a folder, none where there is no folder."""
    return {name for name in os.listdir(folder) if name[0] != "."} if folder.is_dir() else set()


def lacking(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the names that have no image."""
    present = listing(folder / "JPEGImages")
    return [name for name in names if f"{name}.jpg" not in present]


def read_list(path: Path) -> list[str]:
    """Return the names of a list, one a line; ValueError names one that is there twice."""
    names = path.read_text(encoding="utf-8", errors="surrogateescape").split()
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{path} names {name} twice: remove one of the lines or get it again")
        seen.add(name)
    return names


def missing(path: Path, reason: str = "") -> FileNotFoundError:
    """Build the error for files that are not there."""
    year = next(part for part in reversed(path.parts) if part in {f"VOC{year}" for year in LISTS})
    layout = LAYOUT.format(year=year)
    return not_found(name=f"PASCAL {year}", path=path, page=PAGE, reason=reason, layout=layout)
