"""Load the motorbikes, airplanes and faces of Caltech-101 with one box around each object."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.fetch.archive import extract
from fovea.data.fetch.download import install
from fovea.data.formats.home import find_home
from fovea.data.formats.matlab import read_matlab
from fovea.data.packed import Paths, Ragged, Strings
from fovea.data.sources import PublishedImages, check_boxes
from fovea.types import Sample

PAGE = "https://data.caltech.edu/records/mzrjq-6wc02"
URL = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip"
MD5 = "3138e1922a9193bfa496528edbbc45d0"
CLASSES = ("airplane", "face", "motorcycle")
FOLDERS = ("airplanes", "Faces", "Motorbikes")  # of the images, in the order of the classes
ANNOTATIONS = ("Airplanes_Side_2", "Faces_2", "Motorbikes_16")
LAYOUT = """caltech101/101_ObjectCategories/{airplanes,Faces,Motorbikes}/image_0001.jpg …
caltech101/Annotations/{Airplanes_Side_2,Faces_2,Motorbikes_16}/annotation_0001.mat …
or
caltech3/images/{airplane,face,motorcycle}/image_0001.jpg …
caltech3/annotations/{airplane,face,motorcycle}.csv"""


class Caltech3(PublishedImages):
    """The three large categories of Caltech-101, each image with its class and one box.

    Splits: none (`all`), 2,033 colour photos of about 300×200: 800 airplanes, 435 faces, 798 motorcycles.
    Licence: CC BY 4.0.
    Files: `root/caltech101/{101_ObjectCategories,Annotations}` as unpacked, where `box_coord` of a .mat
    file is top, bottom, left, right; or `root/caltech3/{images/<class>/,annotations/<class>.csv}` with
    lines `filename,startX,startY,endX,endY`, where more columns and a header are allowed. Both count
    pixels from 1 and include the last: 1 is taken off left and top. The first is read where both are
    there. Fei-Fei, Fergus and Perona, "Learning generative visual models from few training examples",
    2004.
    """

    name, home, page, layout = "Caltech-101", "caltech101", PAGE, LAYOUT
    splits: ClassVar[tuple[str, ...]] = ("all",)
    official: Mapping[str, int] = {"all": 2033}
    targets: tuple[str, ...] = ("label", "boxes", "labels")

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """List the images of all classes with their boxes."""
        self.classes = list(CLASSES)
        self.folder, parts, original = _list(root)
        self.ids = Strings(name for part in parts for name in part)
        self.paths = Paths(self.folder, self.ids)
        self.labels = np.repeat(np.arange(len(CLASSES)), [len(part) for part in parts])
        tables = [] if original else [list(part.values()) for part in parts]
        self._boxes = Ragged([boxes for part in tables for boxes in part], shape=(4,)) if tables else None
        return len(self)

    @classmethod
    def fetch_files(cls, root: Path, **options: object) -> None:
        """Download Caltech-101 (137 MB) unless images and annotations are there."""
        folder = cls.folder_in(root)
        inner = {"101_ObjectCategories": "101_ObjectCategories.tar.gz", "Annotations": "Annotations.tar"}
        lacking = [archive for name, archive in inner.items() if not (folder / name).is_dir()]
        if not lacking or (_table_folder(root) / "images").is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part") as part:
            install(URL, folder / "caltech-101.zip", expected=MD5, folder=Path(part))
            for archive in lacking:
                extract(Path(part) / "caltech-101" / archive, folder)

    def raw_boxes(self, index: int) -> np.ndarray:
        """Return the box (1, 4) as the file says, x1 y1 x2 y2 with exclusive right and bottom edge."""
        if self._boxes is not None:
            return self._boxes[index]
        return _read_mat(self._annotation(index))

    def annotate(self, index: int, image: np.ndarray) -> Sample:
        """Return the box and its class."""
        boxes = check_boxes(self.raw_boxes(index), image, path=self._annotation(index))
        assert self.labels is not None
        return {"boxes": boxes, "labels": np.repeat(self.labels[index], len(boxes))}

    def files(self, index: int) -> dict[str, Path]:
        """Return the image, and the file with its box where each image has its own."""
        files = {"image": self.paths[index]}
        return files if self._boxes is not None else {**files, "annotation": self._annotation(index)}

    def _annotation(self, index: int) -> Path:
        assert self.labels is not None
        label, path = int(self.labels[index]), self.paths[index]
        if self._boxes is not None:
            return self.folder / "annotations" / f"{CLASSES[label]}.csv"
        name = path.stem.replace("image", "annotation") + ".mat"
        return self.folder / "Annotations" / ANNOTATIONS[label] / name

    def extra_files(self) -> list[Path]:
        """Return annotations without an image, or images without a line in the annotations."""
        if self._boxes is not None:
            have = {self.paths[i] for i in range(len(self))}
            return [p for name in CLASSES for p in _jpegs(self.folder / "images" / name) if p not in have]
        have = {self._annotation(i) for i in range(len(self))}
        folders = [self.folder / "Annotations" / name for name in ANNOTATIONS]
        return [path for folder in folders for path in sorted(folder.glob("*.mat")) if path not in have]


def _table_folder(root: Path) -> Path:
    return find_home(root, ("caltech3",))


def _list(root: Path) -> tuple[Path, list[dict[str, np.ndarray]], bool]:
    """Return the folder, the images of each class (boxes from a table), and whether it is Caltech-101."""
    folder = Caltech3.folder_in(root)
    if (folder / "101_ObjectCategories").is_dir():
        if not (folder / "Annotations").is_dir():
            raise Caltech3.missing(
                folder / "Annotations", "The images are there, their boxes in Annotations.tar are not."
            )
        none = np.zeros((0, 4))
        folders = [folder / "101_ObjectCategories" / name for name in FOLDERS]
        return (
            folder,
            [{p.relative_to(folder).as_posix(): none for p in _jpegs(path)} for path in folders],
            True,
        )
    table = _table_folder(root)
    if not table.is_dir():
        raise Caltech3.missing(folder / "101_ObjectCategories")
    return table, [_read_table(table, name) for name in CLASSES], False


def _jpegs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise Caltech3.missing(folder)
    return sorted(path for path in folder.iterdir() if path.suffix == ".jpg" and path.name[0] != ".")


def _read_table(folder: Path, label: str) -> dict[str, np.ndarray]:
    """Map the images of one class, relative to the folder, to their boxes (N, 4)."""
    path = folder / "annotations" / f"{label}.csv"
    if not path.is_file():
        raise Caltech3.missing(path)
    present = {image.name for image in _jpegs(folder / "images" / label)}
    boxes: dict[str, list[list[float]]] = {}
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for line, row in enumerate(csv.reader(file), start=1):
            if not row or (line == 1 and row[0].strip().lower() == "filename"):
                continue
            if row[0] not in present:
                raise Caltech3.missing(folder / "images" / label / row[0], f"Line {line} of {path} names it.")
            boxes.setdefault(row[0], []).append(_parse(row, where=f"{path}, line {line}"))
    return {f"images/{label}/{name}": np.array(found) for name, found in boxes.items()}


def _parse(row: list[str], *, where: str) -> list[float]:
    try:
        x1, y1, x2, y2 = (float(value) for value in row[1:5])
    except ValueError:
        message = (
            f"{where}: expected filename,startX,startY,endX,endY, found {','.join(row)[:80]!r}: correct it"
        )
        raise ValueError(message) from None
    return [x1 - 1, y1 - 1, x2, y2]


def _read_mat(path: Path) -> np.ndarray:
    """Return the box (1, 4) of a MATLAB file."""
    if not path.is_file():
        raise Caltech3.missing(path, "Its image is there.")
    box = read_matlab(path, "box_coord").reshape(-1)
    if box.shape != (4,) or box.dtype.kind not in "iuf":
        raise ValueError(f"{path}: 'box_coord' must hold 4 numbers, found {box.dtype} {box.shape}")
    top, bottom, left, right = box.astype(np.float32)
    return np.array([[left - 1, top - 1, right, bottom]], dtype=np.float32)
