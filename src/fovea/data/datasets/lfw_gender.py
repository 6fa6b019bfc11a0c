"""Load faces labelled by gender: the arrays of a course lab, class folders, or all of LFW with a list."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.data.formats.arrays_or_folder import ArraysOrFolder, absent, find_layout
from fovea.data.formats.lfw_labels import label_files, read_genders
from fovea.data.formats.listing import list_images
from fovea.data.packed import Paths, Strings

log = logging.getLogger(__name__)
CLASSES = ("female", "male")
ENTRIES = {
    "arrays": ("x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy"),
    "folder": ("train", "test"),
    "people": ("lfw",),
}
LAYOUT = """
lfw_gender/{x_train,y_train,x_test,y_test}.npy          as the archive of the lab unpacks them, or
lfw_gender/{train,test}/{female,male}/*.jpg             or
lfw_gender/lfw/<Person_Name>/<Person_Name>_0001.jpg     with one of
lfw_gender/male_names.txt and female_names.txt          lists of image file names
lfw_gender/lfw_attributes.txt                           the attribute scores of Kumar et al.
"""
PAGE = (
    "https://github.com/RParedesPalacios/ComputerVisionLab (src/gender.py names the archive), "
    "or LFW from http://vis-www.cs.umass.edu/lfw/"
)


class LFWGender(ArraysOrFolder):
    """Faces of Labeled Faces in the Wild, female or male.

    Splits: those of the lab, train 10,585 and test 2,648 colour faces of 100×100; all of LFW has no official
    gender split (`all`): 13,233 photos of 250×250 of 5,749 people, of which those with a label are used.
    About 78 % are male. `groups` (N,) numbers the person on each image, so that one is never in two parts;
    it is None for arrays, which do not say who is shown. Labels are 0 = female and 1 = male, or one-hot.
    Licence: none is stated; research use. Files: see LAYOUT; where both kinds of labels are present the lists
    are taken, which were checked by hand, while scores are a classifier's and partly wrong.
    Huang, Ramesh, Berg and Learned-Miller, "Labeled faces in the wild", 2007. Kumar, Berg, Belhumeur and
    Nayar, "Attribute and simile classifiers for face verification", 2009.
    """

    name, home, page, layout, offered = "LFW gender", "lfw_gender", PAGE, LAYOUT, False
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "all")
    official: Mapping[str, int] = {"train": 10_585, "test": 2_648, "all": 13_233}
    groups: np.ndarray | None = None  # (N,) int64

    def read(self, root: Path, *, split: str, subset: bool) -> int:
        """List the images of a split, from arrays, folders or all of LFW."""
        self.classes, folder = list(CLASSES), self.folder_in(root)
        layout = _layout(folder)
        if layout == "people":
            return self._use_people(folder)
        if layout == "folder":
            self.use_folder(folder)
            self.groups = self._who(folder)
        else:
            self.use_arrays(folder)
        return len(self)

    @classmethod
    def find_splits(cls, *, root: str | Path, **options: object) -> tuple[str, ...]:
        """Return the splits that the files have: those of the lab, or `all`."""
        return ("all",) if _layout(cls.folder_in(Path(root))) == "people" else ("train", "test")

    @classmethod
    def fetch_files(cls, root: Path, **options: object) -> None:
        """Raise FileNotFoundError with instructions unless the files are there: no source with checksums."""
        _layout(cls.folder_in(root))

    def _use_people(self, folder: Path) -> int:
        """Take the images that have a label, and return how many there are with and without."""
        names, _ = list_images(folder / "lfw", root=folder / "lfw")
        genders = read_genders(folder)
        kept = [name for name in names if _stem(name) in genders]
        if not kept:
            raise LFWGender.missing(folder / "lfw", "None of its images is named by the labels.")
        if len(kept) < len(names):
            log.warning(
                "%s: left out %d of %d images without a label", folder, len(names) - len(kept), len(names)
            )
        self.ids, self.paths = Strings(kept), Paths(folder / "lfw", kept)
        self.labels = np.array([genders[_stem(name)] for name in kept], dtype=np.int64)
        self.groups = _number([name.split("/")[0] for name in kept])
        return len(names)

    def _who(self, folder: Path) -> np.ndarray | None:
        """Number the people by the file names, where these tell; say if the same are in both splits."""
        people = _people(self.ids)
        if people is None:
            return None
        other = "test" if self.split == "train" else "train"
        names, _ = list_images(folder / other, root=folder)
        shared = set(people) & set(_people(names) or [])
        if shared:
            log.warning(
                "%s: %d people are in both train and test: results will be too good", folder, len(shared)
            )
        return _number(people)


def _layout(folder: Path) -> str:
    layout = find_layout(folder, {name: entries[0] for name, entries in ENTRIES.items()})
    if layout is None:
        raise LFWGender.missing(folder / "x_train.npy")
    lacking = absent(folder, ENTRIES[layout])
    if lacking:
        raise LFWGender.missing(lacking[0])
    unlabelled = [path for path in label_files(folder) if not path.is_file()] if layout == "people" else []
    if unlabelled:
        raise LFWGender.missing(unlabelled[0], "The images of lfw need labels.")
    return layout


def _stem(name: str) -> str:
    return name.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def _number(people: Sequence[str]) -> np.ndarray:
    return np.unique(np.array(people), return_inverse=True)[1].reshape(-1).astype(np.int64)


def _people(names: Sequence[str]) -> list[str] | None:
    """Return who is on each image, or None unless all names end in a number as those of LFW do."""
    matches = [re.fullmatch(r"(.+)_\d{4}", _stem(name)) for name in names]
    return [m[1] for m in matches if m] if all(matches) else None
