"""Locate and download the files of PASCAL VOC."""

from __future__ import annotations

import os
from pathlib import Path

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


def listing(folder: Path) -> set[str]:
    """Return the names of the visible files of a folder, none where there is no folder."""
    return {name for name in os.listdir(folder) if name[0] != "."} if folder.is_dir() else set()


def read_list(path: Path) -> list[str]:
    """Return the names of a list, one a line; ValueError names one that is there twice."""
    names = path.read_text(encoding="utf-8", errors="surrogateescape").split()
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{path} names {name} twice: remove one of the lines or get it again")
        seen.add(name)
    return names
