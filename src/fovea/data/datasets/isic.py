"""Load the lesion segmentation tasks of the ISIC challenges 2016 to 2018."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Unpack

import numpy as np

from fovea.data.fetch.missing import not_found
from fovea.data.formats.mask_images import MaskImages
from fovea.data.packed import Paths, Strings
from fovea.data.sources import FileOptions

PAGE = "https://challenge.isic-archive.com/data/"
FOLDERS = {  # year: split: images, masks
    2016: {
        "train": ("ISBI2016_ISIC_Part1_Training_Data", "ISBI2016_ISIC_Part1_Training_GroundTruth"),
        "test": ("ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"),
    },
    2017: {
        "train": ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
        "val": ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
        "test": ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
    },
    2018: {
        "train": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
        "val": ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
        "test": ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
    },
}
OFFICIAL = {
    2016: {"train": 900, "test": 379},
    2017: {"train": 2000, "val": 150, "test": 600},
    2018: {"train": 2594, "val": 100, "test": 1000},
}


class ISIC(MaskImages):
    """Dermoscopic photos of skin with the outline of the lesion: 2 classes, background and lesion.

    Splits: 2016 train 900, test 379; 2017 train 2,000, val 150, test 600; 2018 train 2,594, val 100,
    test 1,000 colour photos, some of more than 6,000×4,000 pixels. Files with superpixels are not read.
    Licence: CC0 for 2016 and 2017, CC BY-NC 4.0 for 2018, as far as known: see the page of the challenge.
    Files: the archives as unpacked, side by side in `root/isic`, e.g. `ISIC-2017_Training_Data/*.jpg` and
    `ISIC-2017_Training_Part1_GroundTruth/*_segmentation.png` (2016: `_Segmentation.png`).
    Gutman et al., arXiv:1605.01397; Codella et al., arXiv:1710.05006; Codella et al., arXiv:1902.03368.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    offered: ClassVar[bool] = False
    home: ClassVar[str] = "isic"

    def __init__(self, *, year: int = 2018, **options: Unpack[FileOptions]) -> None:
        self.name, self.year, self.own = f"ISIC {year}", year, {"year": year}
        self.official = OFFICIAL.get(year, {})
        self.classes, self.values = ["background", "lesion"], {255: 1}
        self.palette = np.array([[0, 0, 0], [255, 255, 255]], dtype=np.uint8)
        super().__init__(**options)

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """List the images of a split with their masks."""
        year = self.year
        self.folders = tuple(self.folder_in(root) / name for name in FOLDERS[year][split])
        images, masks = (_listing(folder, year) for folder in self.folders)
        names = sorted(_images(images))
        lacking = [name for name in names if name not in masks]
        if not names or lacking:
            reason = f"{len(lacking)} of {len(names)} images have no mask." if names else "It has no image."
            path = self.folders[1] / f"{lacking[0]}_segmentation.png" if names else self.folders[0]
            raise _missing(path, year, reason)
        self.ids = Strings(f"{self.folders[0].name}/{images[name]}" for name in names)
        self.paths = Paths(self.folder_in(root), self.ids)
        self.masks = Paths(self.folders[1], (masks[name] for name in names))
        return len(self)

    @classmethod
    def find_splits(cls, *, year: int = 2018, **options: object) -> tuple[str, ...]:
        """Return the splits of a year; ValueError names an unknown year."""
        if year not in FOLDERS:
            raise ValueError(f"year={year!r} is unknown: choose one of {', '.join(map(str, FOLDERS))}")
        return tuple(FOLDERS[year])

    @classmethod
    def fetch_files(cls, root: Path, *, year: int = 2018, **options: object) -> None:
        """Check that the folders are there: the archives come without published checksums."""
        cls.find_splits(year=year)
        for folder in (cls.folder_in(root) / name for pair in FOLDERS[year].values() for name in pair):
            if not folder.is_dir():
                raise _missing(folder, year, "It has to be fetched by hand.")

    def extra_files(self) -> list[Path]:
        """Return the masks of this split that belong to no image."""
        images = {os.path.splitext(Path(name).name)[0] for name in self.ids}
        with os.scandir(self.folders[1]) as entries:
            found = [entry.name for entry in entries if entry.name.lower().endswith("_segmentation.png")]
        return sorted(self.folders[1] / name for name in found if _stem(name) not in images)


def _stem(name: str) -> str:
    return name[: -len("_segmentation.png")]


def _listing(folder: Path, year: int) -> dict[str, str]:
    """Map the id of each image and each mask of a folder to its file name."""
    if not folder.is_dir():
        raise _missing(folder, year)
    found = {}
    for name in sorted(os.listdir(folder)):
        stem, suffix = os.path.splitext(name)
        if name.lower().endswith("_segmentation.png"):
            found[_stem(name)] = name
        elif suffix.lower() in (".jpg", ".jpeg") and not name.startswith("."):
            found[stem] = name
    return found


def _images(listing: dict[str, str]) -> list[str]:
    return [key for key, name in listing.items() if not name.lower().endswith(".png")]


def _missing(path: Path, year: int, reason: str = "") -> FileNotFoundError:
    pairs = FOLDERS[year].values()
    layout = "\n".join(
        f"isic/{images}/ISIC_0000000.jpg …\nisic/{masks}/ISIC_0000000_segmentation.png …"
        for images, masks in pairs
    )
    page = f"{PAGE}#{year} (lesion segmentation: unpack the archives side by side)"
    return not_found(name=f"ISIC {year}", path=path, page=page, reason=reason, layout=layout, download=False)
