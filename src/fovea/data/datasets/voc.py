"""Load PASCAL VOC 2007 and 2012, with boxes or with masks, from torchvision's folder layout."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Unpack

import numpy as np

from fovea.data.fetch.download import install
from fovea.data.fetch.missing import FAILED, not_found
from fovea.data.formats.home import find_home, plain
from fovea.data.formats.listing import present
from fovea.data.formats.masks import read_mask
from fovea.data.formats.named_files import inside
from fovea.data.formats.objects import Objects
from fovea.data.formats.voc_files import ARCHIVES, FOLDERS, LAYOUT, LISTS, PAGE, listing, read_list
from fovea.data.formats.voc_xml import read_objects
from fovea.data.packed import Paths, Strings
from fovea.data.sources import FileOptions, PublishedImages, check_boxes, check_same_size
from fovea.ops.palette import voc_palette
from fovea.types import Sample

OFFICIAL = {
    (2007, "boxes"): {"train": 2501, "val": 2510, "test": 4952},
    (2007, "masks"): {"train": 209, "val": 213, "test": 210},
    (2012, "boxes"): {"train": 5717, "test": 5823},
    (2012, "masks"): {"train": 1464, "test": 1449},
}
CLASSES = (
    "aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,motorbike,person,"
    "pottedplant,sheep,sofa,train,tvmonitor"
)


class VOC(PublishedImages):
    """The photos of PASCAL VOC with boxes (20 classes) or masks (21 with the background).

    Splits: 2007 train 2,501, val 2,510, test 4,952 (masks: 209, 213, 210); 2012 train 5,717, test 5,823
    (masks: 1,464, 1,449). For 2012 no test annotations are public: the official val is called `test`, val
    is cut from train. Licence: the Flickr terms of use; research use with citation.
    Files:
    `root/VOCdevkit/VOC<year>/{JPEGImages,Annotations,ImageSets,SegmentationClass,SegmentationObject}`.
    Corners of boxes count from 1 and are inclusive: 1 is taken off xmin and ymin. Difficult objects are
    `ignore`, parts of objects (heads, hands, feet) are left out. In masks 255 is the border of an object.
    Everingham, Van Gool, Williams, Winn and Zisserman, "The PASCAL visual object classes (VOC)
    challenge", 2010.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    labels: np.ndarray | None = None

    def __init__(
        self, *, year: int = 2012, annotation: str = "boxes", **options: Unpack[FileOptions]
    ) -> None:
        self.name, self.year, self.annotation = f"VOC {year}", year, annotation
        self.own, self.official = (
            {"year": year, "annotation": annotation},
            OFFICIAL.get((year, annotation), {}),
        )
        super().__init__(**options)

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """List the images of a split."""
        self.folder = _folder(root, self.year)
        path = self.folder / "ImageSets" / FOLDERS[self.annotation] / f"{LISTS[self.year][split]}.txt"
        if not path.is_file():
            raise self.missing(path)
        names = [f"{name}.jpg" for name in read_list(path)]
        inside(names, self.folder / "JPEGImages", homes=[self.folder], where=path)
        kept = present(names, self.folder / "JPEGImages", subset=subset, error=self.missing)
        self.ids = Strings(f"JPEGImages/{names[i]}" for i in kept)
        self.paths = Paths(self.folder, self.ids)
        if self.annotation == "masks":
            self.classes, self.targets = ["background", *CLASSES.split(",")], ("mask", "instances")
            self.palette = voc_palette(len(self.classes))
        else:
            self.classes, self.targets = CLASSES.split(","), ("boxes", "labels", "ignore")
        return len(self)

    @classmethod
    def find_splits(
        cls, *, year: int = 2012, annotation: str = "boxes", **options: object
    ) -> tuple[str, ...]:
        """Return the splits of a year; ValueError names an unknown year or annotation."""
        if year not in LISTS:
            raise ValueError(f"year={year!r} is unknown: choose one of {', '.join(map(str, LISTS))}")
        if annotation not in FOLDERS:
            raise ValueError(f"annotation={annotation!r} is unknown: choose one of {', '.join(FOLDERS)}")
        return tuple(LISTS[year])

    @classmethod
    def fetch_files(
        cls, root: Path, *, year: int = 2012, annotation: str = "boxes", **options: object
    ) -> None:
        """Download and unpack the archives (2007: 0.9 GB, 2012: 2 GB) whose images are not all there."""
        from torchvision.datasets.voc import DATASET_YEAR_DICT

        cls.find_splits(year=year, annotation=annotation)
        try:
            folder = _folder(root, year)
            have = listing(folder / "JPEGImages")
            for name, parts in ARCHIVES[year].items():
                lists = [folder / "ImageSets" / FOLDERS[annotation] / f"{part}.txt" for part in parts]
                if all(p.is_file() and have.issuperset(f"{n}.jpg" for n in read_list(p)) for p in lists):
                    continue
                source = DATASET_YEAR_DICT[name]
                install(source["url"], root / source["filename"], expected=source["md5"], folder=root)
        except OSError as error:
            raise cls.missing(root / "VOCdevkit" / f"VOC{year}", f"{FAILED}: {error}.") from error

    @classmethod
    def missing(cls, path: Path, reason: str = "") -> FileNotFoundError:
        """Build the error for files that are not there, whose path says the year."""
        years = {f"voc{year}": f"VOC{year}" for year in LISTS}
        year = next(years[name] for name in map(plain, reversed(path.parts)) if name in years)
        layout = LAYOUT.format(year=year)
        return not_found(name=f"PASCAL {year}", path=path, page=PAGE, layout=layout, reason=reason)

    def files(self, index: int) -> dict[str, Path]:
        """Return the image and its annotation: an XML file, or two PNG files."""
        path = self.paths[index]
        if self.annotation == "boxes":
            return {"image": path, "annotation": self.folder / "Annotations" / f"{path.stem}.xml"}
        folders = {"mask": "SegmentationClass", "instances": "SegmentationObject"}
        masks = {role: self.folder / name / f"{path.stem}.png" for role, name in folders.items()}
        return {"image": path, **masks}

    def extra_files(self) -> list[Path]:
        """Return the annotation files that belong to no image."""
        have = {name.removesuffix(".jpg") for name in listing(self.folder / "JPEGImages")}
        boxes = self.annotation == "boxes"
        folders = ("Annotations",) if boxes else ("SegmentationClass", "SegmentationObject")
        found = [self.folder / name / file for name in folders for file in listing(self.folder / name)]
        return sorted(path for path in found if path.stem not in have)

    def raw_boxes(self, index: int) -> np.ndarray:
        """Return the boxes (N, 4) as the file says, x1 y1 x2 y2 with exclusive right and bottom edge."""
        if self.annotation == "masks":
            return np.zeros((0, 4), dtype=np.float32)
        return self._objects(index).boxes

    def _there(self, index: int) -> dict[str, Path]:
        """Return the files of a sample, all of which must be there."""
        files = self.files(index)
        for path in files.values():
            if not path.is_file():
                raise self.missing(path, f"It belongs to {files['image']}.")
        return files

    def _objects(self, index: int) -> Objects:
        path = self._there(index)["annotation"]
        return read_objects(path, classes={name: number for number, name in enumerate(CLASSES.split(","))})

    def annotate(self, index: int, image: np.ndarray) -> Sample:
        """Return boxes, labels and ignore, or mask and instances."""
        files = self._there(index)
        if self.annotation == "boxes":
            boxes, labels, ignore = self._objects(index)
            return {
                "boxes": check_boxes(boxes, image, path=files["annotation"]),
                "labels": labels,
                "ignore": ignore,
            }
        mask = read_mask(files["mask"], num_classes=len(self.classes))
        instances = read_mask(files["instances"], num_classes=255)
        return {
            "mask": check_same_size(image, mask, path=files["mask"]),
            "instances": check_same_size(image, instances, path=files["instances"]),
        }


def _folder(root: Path, year: int) -> Path:
    kit, name = find_home(root, ("VOCdevkit",)), f"VOC{year}"
    folder = find_home(kit if kit.is_dir() else root, (name,))
    return folder if folder.is_dir() else kit / name
