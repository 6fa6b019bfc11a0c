"""Load any images with one JSON file of COCO's format for each split."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from os.path import abspath, isfile, join, relpath
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fovea.data.box_images import Annotated, BoxImages, class_names
from fovea.data.fetch.missing import not_found
from fovea.data.formats.coco_json import column, numbers, read_json, table
from fovea.data.formats.coco_objects import Categories, CocoObjects, read_categories, read_coco_objects
from fovea.data.formats.listing import FOLDERS, describe, list_images, split_named, visible_folders
from fovea.data.formats.named_files import check_name, find_twice, inside
from fovea.data.formats.objects import Objects, stated
from fovea.page.formats import counted

log = logging.getLogger(__name__)
OTHERS = ("captions", "keypoints", "panoptic", "stuff", "image_info")  # files without boxes of things
LAYOUT = """annotations/{train,val,test}.json (or instances_train2017.json …) with the images in train/, val/
and test/ (or train2017/ …) or images/; or train/_annotations.coco.json beside its images; or one .json"""


class CocoFolder(BoxImages):
    """The images that JSON files in COCO's format list, in the layouts that tools export.

    Splits: those that the names of the files or of their folders say, otherwise `all`. Classes: the
    categories of the training file in the order of their ids, which may have gaps (`category_ids` says
    which), or `classes` in your order; other files go by the names of categories. Boxes are x, y, width,
    height in the files, crowds are `ignore`, an image without an object is a negative. Images that no file
    lists are left out and counted. Counts, licence and citation are those of your images.
    """

    def read(self, root: Path, split: str) -> list[Annotated]:
        """Read the file of a split, and the ids of the categories."""
        files = _files(root)
        first = _read(next(iter(files.values()))).categories
        ids = dict(zip(first.names, first.ids.tolist(), strict=True))
        self.category_ids = np.array([ids.get(name, -1) for name in self.classes])  # -1: it has none
        found = _read(files[split])
        self.image_ids = found.ids
        folder = _folder(found, root, split)
        paths = _paths(found, folder, root)
        _say_unlisted(folder, found.file, _unlisted(folder, paths))
        return _annotated(found, paths, root, self.classes)

    @classmethod
    def find_splits(cls, *, root: str | Path, **options: object) -> tuple[str, ...]:
        """Return the splits that there is a file of."""
        return tuple(_files(Path(root)))

    @classmethod
    def find_classes(
        cls, *, root: str | Path, classes: Sequence[str] | None = None, **options: object
    ) -> list[str]:
        """Return the class names: those given, or the categories of the training file."""
        found = [_read(path) for path in _files(Path(root)).values()]
        names = list(classes) if classes is not None else found[0].categories.names
        used = (part.categories.names[k] for part in found for k in part.objects.labels)
        return class_names(used, classes=names, where=found[0].file)


class _File(NamedTuple):
    """What one file says."""

    file: Path
    names: list[str]  # of the images
    ids: np.ndarray  # (N,) of the images
    sizes: list[tuple[int, int] | None]
    categories: Categories
    objects: CocoObjects


def _read(path: Path) -> _File:
    about = path.stat()
    return _read_once(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=3)  # of each split: every split asks for the classes of all
def _read_once(path: Path, changed: int, size: int) -> _File:
    document, _ = read_json(path)
    images = table(document, "images", path=path)
    names = column(images, "file_name", path=path, what="images")
    names = [check_name(name, what="file_name", where=path) for name in names]
    if not names:
        raise ValueError(f"{path} lists no image: get it again")
    categories = read_categories(document, path=path)
    if len(set(categories.names)) != len(categories.names):
        raise ValueError(f"{path} has a category name twice: rename one of {', '.join(categories.names)}")
    objects = read_coco_objects(document, categories, path=path)
    ids = numbers(column(images, "id", path=path, what="images"), path=path, what="image id")
    sizes = [
        stated(row.get("width"), row.get("height"), where=f"{path}: {name}")
        for name, row in zip(names, images, strict=True)
    ]
    return _File(path, names, ids, sizes, categories, objects)


def _annotated(found: _File, paths: Sequence[str], root: Path, classes: Sequence[str]) -> list[Annotated]:
    of = {name: number for number, name in enumerate(classes)}
    numbers = np.array([of.get(name, -1) for name in found.categories.names], dtype=np.int64)
    boxes, labels, crowd, _, start = found.objects
    images = []
    for k, (path, size) in enumerate(zip(paths, found.sizes, strict=True)):
        rows = slice(start[k], start[k + 1])
        objects = Objects.of(boxes[rows], numbers[labels[rows]], crowd[rows])
        images.append(Annotated(relpath(path, root), objects, size, found.file))
    return images


def _files(root: Path) -> dict[str, Path]:
    """Map split names to JSON files, training first."""
    folders = [root, *(visible_folders(root).values() if root.is_dir() else ())]
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            if not any(kind in path.stem for kind in OTHERS):
                found.setdefault(_split_of(path, root), []).append(path)
    if "train" in found:
        found.pop("all", None)
    for split, paths in found.items():
        if len(paths) > 1:
            raise ValueError(
                f"{root} has several files for {split}: {', '.join(p.name for p in paths)}: keep one of them"
            )
    files: dict[str, Path] = {
        name: found[name][0] for name in ("all", "train", "val", "test") if name in found
    }
    if not files or not {"all", "train"} & files.keys():
        raise not_found(
            name="COCO's JSON files", path=root / "annotations" / "train.json", layout=LAYOUT, download=False,
            page="put your images and annotations there, or give data.root=DIR",
            reason=f"{root} holds {describe(root)}." if root.is_dir() else "",
        )  # fmt: skip
    return files


def _split_of(path: Path, root: Path) -> str:
    words = {FOLDERS.get(word) for word in re.findall(r"[^\W\d_]+", path.stem.lower())} - {None}
    named = words.pop() if len(words) == 1 else None
    return named or (None if path.parent == root else split_named(path.parent.name)) or "all"


def _folder(found: _File, root: Path, split: str) -> Path:
    """Return the folder in which the images of a file lie; FileNotFoundError says where it looked."""
    path = found.file
    named = [
        folder
        for start in (root, root / "images")
        if start.is_dir()
        for name, folder in visible_folders(start).items()
        if split_named(name) == split
    ]
    places = [path.parent, *named, root / "images", root]
    some = [place for place in places if isfile(join(place, found.names[0]))]
    if not some:
        raise FileNotFoundError(
            f"{path} lists {found.names[0]}, which is not there: looked in "
            f"{', '.join(map(str, dict.fromkeys(places)))}. Expected {LAYOUT}"
        )
    return next((place for place in some if all(isfile(join(place, name)) for name in found.names)), some[0])


def _paths(found: _File, folder: Path, root: Path) -> list[str]:
    """Return the absolute paths of the images; errors name one out of the root, twice, or not there."""
    names = found.names
    paths = inside(names, folder, homes=[root], where=found.file)
    if absent := [name for name, path in zip(names, paths, strict=True) if not isfile(path)]:
        raise FileNotFoundError(
            f"{found.file} lists {counted(len(absent), 'image')} that {folder} has not, such as {absent[0]}: "
            "add them, or remove them from the file"
        )
    for first, again in find_twice(paths):
        other = "" if names[first] == names[again] else f", once as {names[first]}"
        raise ValueError(f"{found.file} lists the image {names[again]} twice{other}: remove one")
    return paths


def _unlisted(folder: Path, paths: Sequence[str]) -> int:
    """Count the images of a folder, not of those in it, that no row lists."""
    there = {abspath(folder / name) for name in list_images(folder, root=folder)[0] if "/" not in name}
    return len(there - set(paths))


@cache
def _say_unlisted(folder: Path, file: Path, count: int) -> None:
    if count:
        log.warning("%s: left out %s that %s does not list", folder, counted(count, "image"), file)
