"""Load the Oxford-IIIT Pet data set, with breeds or with trimaps, from torchvision's folder layout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Unpack

import numpy as np

from fovea.data.fetch.download import install
from fovea.data.formats.listing import present
from fovea.data.formats.mask_images import MaskImages
from fovea.data.packed import Paths, Strings
from fovea.data.sources import FileOptions
from fovea.types import Sample

PAGE = "https://www.robots.ox.ac.uk/~vgg/data/pets/"
LISTS = {"train": "trainval.txt", "test": "test.txt"}
OFFICIAL = {"all": {"train": 3680, "test": 3669}, "cats": {"train": 1188, "test": 1183}}
TRIMAP = {False: {1: 1, 2: 0, 3: 255, 0: -1}, True: {1: 1, 2: 0, 3: 2, 0: -1}}  # by border_class
BREEDS = [  # as in file names; those of cats start with a capital
    "Abyssinian", "american_bulldog", "american_pit_bull_terrier", "basset_hound", "beagle", "Bengal",
    "Birman", "Bombay", "boxer", "British_Shorthair", "chihuahua", "Egyptian_Mau", "english_cocker_spaniel",
    "english_setter", "german_shorthaired", "great_pyrenees", "havanese", "japanese_chin", "keeshond",
    "leonberger", "Maine_Coon", "miniature_pinscher", "newfoundland", "Persian", "pomeranian", "pug",
    "Ragdoll", "Russian_Blue", "saint_bernard", "samoyed", "scottish_terrier", "shiba_inu", "Siamese",
    "Sphynx", "staffordshire_bull_terrier", "wheaten_terrier", "yorkshire_terrier",
]  # fmt: skip
LAYOUT = """oxford-iiit-pet/images/Abyssinian_1.jpg …
oxford-iiit-pet/annotations/{trainval,test}.txt
oxford-iiit-pet/annotations/trimaps/Abyssinian_1.png …"""


class OxfordPets(MaskImages):
    """Photos of 37 breeds of cats and dogs, with the breed or the outline (`annotation: trimap`).

    Splits: train 3,680 (the official trainval) and test 3,669 colour photos, about 200 of each breed; with
    `animals: cats` the 12 breeds of cats, 1,188 and 1,183. A trimap marks pet, background and the border
    between them, which is ignored, or with `border_class` a class of its own.
    Licence: CC BY-SA 4.0. Some images are PNG or GIF files by another name, a few are on no list.
    Files: `root/oxford-iiit-pet/{images/*.jpg,annotations/{trainval.txt,test.txt,trimaps/*.png}}`.
    Parkhi, Vedaldi, Zisserman and Jawahar, "Cats and dogs", 2012.
    """

    name, home, page, layout = "Oxford-IIIT Pet", "oxford-iiit-pet", PAGE, LAYOUT
    also: ClassVar[tuple[str, ...]] = ("oxford-pets", "oxford-iiit-pets", "pets")
    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(
        self,
        *,
        annotation: str = "breed",
        animals: str = "all",
        border_class: bool = False,
        **options: Unpack[FileOptions],
    ) -> None:
        _check_options(annotation, animals)
        self.annotation, self.border_class, self.official = annotation, border_class, OFFICIAL[animals]
        self._breeds = [k for k, breed in enumerate(BREEDS) if animals == "all" or breed[0].isupper()]
        super().__init__(**options)

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """List the images of a split with their breeds or trimaps."""
        self.folder, chosen = self.folder_in(root), self._breeds
        listed = _read_list(self.folder / "annotations" / LISTS[split])
        names = [name for name, breed in listed.items() if breed in chosen]
        files = [f"{name}.jpg" for name in names]
        names = [names[i] for i in present(files, self.folder / "images", subset=subset, error=self.missing)]
        self.ids = Strings(f"{name}.jpg" for name in names)
        self.paths = Paths(self.folder / "images", self.ids)
        if self.annotation == "breed":
            self.classes = [BREEDS[k].replace("_", " ").title() for k in chosen]
            self.labels = np.searchsorted(chosen, [listed[name] for name in names]).astype(np.int64)
            self.targets = ("label",)
        else:
            self._set_trimaps(names, self.border_class)
        return len(self)

    def _set_trimaps(self, names: list[str], border_class: bool) -> None:
        folder = self.folder / "annotations" / "trimaps"
        self.classes = ["background", "pet", "border"][: 3 if border_class else 2]
        self.values = TRIMAP[border_class]
        self.masks = Paths(folder, (f"{name}.png" for name in names))
        missing = sorted(set(names) - _stems(folder, ".png"))
        if missing:
            raise OxfordPets.missing(
                folder / f"{missing[0]}.png", f"{len(missing)} of {len(names)} images have no trimap."
            )

    @classmethod
    def fetch_files(cls, root: Path, **options: object) -> None:
        """Download and unpack the images (0.8 GB) and the annotations (20 MB) that are missing."""
        from torchvision.datasets import OxfordIIITPet as Official

        folder = cls.folder_in(root)
        for url, md5 in Official._RESOURCES:
            name = url.rsplit("/", 1)[-1]
            if not _complete(folder, name.removesuffix(".tar.gz")):
                install(url, folder / name, expected=md5, folder=folder)

    def files(self, index: int) -> dict[str, Path]:
        """Return the image, and its trimap where those are read."""
        return super().files(index) if self.labels is None else {"image": self.paths[index]}

    def annotate(self, index: int, image: np.ndarray) -> Sample:
        """Return the mask (H, W) where trimaps are read."""
        return super().annotate(index, image) if self.labels is None else {}

    def extra_files(self) -> list[Path]:
        """Return images that are on no list, and trimaps without an image."""
        annotations = self.folder / "annotations"
        listed = {name for file in LISTS.values() for name in _read_list(annotations / file)}
        images = _stems(self.folder / "images", ".jpg")
        masks = _stems(annotations / "trimaps", ".png")
        extra = [self.folder / "images" / f"{name}.jpg" for name in sorted(images - listed)]
        return extra + [annotations / "trimaps" / f"{name}.png" for name in sorted(masks - images)]


def _check_options(annotation: str, animals: str) -> None:
    for name, value, known in (
        ("annotation", annotation, ("breed", "trimap")),
        ("animals", animals, OFFICIAL),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r} is unknown: choose one of {', '.join(known)}")


def _complete(folder: Path, part: str) -> bool:
    """Return whether all files that the lists name are there."""
    lists = [folder / "annotations" / name for name in LISTS.values()]
    if not all(path.is_file() for path in lists):
        return False
    have = (
        _stems(folder / "images", ".jpg") if part == "images" else _stems(lists[0].parent / "trimaps", ".png")
    )
    return all(set(_read_list(path)) <= have for path in lists)


def _stems(folder: Path, suffix: str) -> set[str]:
    names = os.listdir(folder) if folder.is_dir() else []
    return {name.removesuffix(suffix) for name in names if name.endswith(suffix) and name[0] != "."}


def _read_list(path: Path) -> dict[str, int]:
    """Map names to breeds, counted from 0; lines are `name breed species number`."""
    if not path.is_file():
        raise OxfordPets.missing(path)
    names: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, breed, *rest = [*line.split(), ""]
        if not breed.isdecimal() or not 1 <= int(breed) <= len(BREEDS) or len(rest) != 3:
            raise ValueError(
                f"{path}, line {number}: {line!r} is not `name breed species number`: get it again"
            )
        if name.rpartition("_")[0] != BREEDS[int(breed) - 1] or name in names:
            problem = "is there twice" if name in names else f"is not of breed {BREEDS[int(breed) - 1]}"
            raise ValueError(
                f"{path}, line {number}: {name} {problem}: correct the line or get the file again"
            )
        names[name] = int(breed) - 1
    return names
