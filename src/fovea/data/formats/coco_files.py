"""Locate and download the files of COCO 2017, for the data sets that share them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fovea.data.fetch.download import install
from fovea.data.formats.coco_json import column, read_json, table
from fovea.data.formats.listing import present
from fovea.data.formats.named_files import check_name, inside
from fovea.data.sources import PublishedImages

PAGE = "https://cocodataset.org/#download"

SERVER = "http://images.cocodataset.org"
ARCHIVES = {  # below the server, md5, what is inside
    "train2017": (f"{SERVER}/zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2"),
    "val2017": (f"{SERVER}/zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80"),
    "annotations": (
        f"{SERVER}/annotations/annotations_trainval2017.zip",
        "f4bbac642086de4f52a3fdda2de5fa2c",
    ),
}
FOLDERS = {
    "train": "train2017",
    "test": "val2017",
}  # the annotations of the official test images are not public
LAYOUT = """coco/train2017/000000000009.jpg …   (train2017.zip, 18 GB)
coco/val2017/000000000139.jpg …     (val2017.zip, 0.8 GB)
coco/annotations/{instances,captions}_{train,val}2017.json   (annotations_trainval2017.zip)"""


class CocoFiles(PublishedImages):
    """The files of COCO 2017; `kind` says which annotations: instances or captions."""

    name, home, layout = "COCO 2017", "coco", LAYOUT
    also: ClassVar[tuple[str, ...]] = ("coco2017", "mscoco")
    page = f"{PAGE} ({', '.join(url for url, _ in ARCHIVES.values())})"
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    official: Mapping[str, int] = {"train": 118_287, "test": 5_000}
    kind: ClassVar[str]

    @classmethod
    def fetch_files(cls, root: Path, **options: object) -> None:
        """Download what is missing of 19 GB of images and 0.25 GB of annotations."""
        folder = cls.folder_in(root)
        lists = [folder / "annotations" / f"{cls.kind}_{name}.json" for name in FOLDERS.values()]
        have = {name: (folder / name).is_dir() for name in FOLDERS.values()}
        have["annotations"] = all(path.is_file() for path in lists)
        for name, (url, md5) in ARCHIVES.items():
            if not have[name]:
                install(url, folder / url.rpartition("/")[2], expected=md5, folder=folder)

    def read_file(
        self, root: Path, *, split: str, subset: bool
    ) -> tuple[dict[str, Any], np.ndarray, list[str], np.ndarray]:
        """Return what `read_json` gives of a split, the names of its images, and which of them are there."""
        home = self.folder_in(root)
        self.folder = home / FOLDERS[split]
        self.file = home / "annotations" / f"{self.kind}_{FOLDERS[split]}.json"
        if not self.file.is_file():
            raise self.missing(self.file)
        document, places = read_json(self.file)
        rows = table(document, "images", path=self.file)
        names = column(rows, "file_name", path=self.file, what="images")
        names = [check_name(name, what="file_name", where=self.file) for name in names]
        inside(names, self.folder, homes=[home], where=self.file)
        return document, places, names, present(names, self.folder, subset=subset, error=self.missing)
