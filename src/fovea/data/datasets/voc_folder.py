"""Load any folder of images with one XML file of PASCAL VOC's format for each."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from fovea.data.box_images import Annotated, BoxImages, class_names
from fovea.data.fetch.missing import not_found
from fovea.data.formats.listing import describe, list_images, split_named, visible_folders
from fovea.data.formats.objects import Objects
from fovea.data.formats.voc_files import read_list
from fovea.data.formats.voc_xml import Annotation, read_annotation
from fovea.page.formats import counted

log = logging.getLogger(__name__)
LISTS = "ImageSets/Main"
LAYOUT = """NAME.jpg and NAME.xml, of equal names, in any folders such as JPEGImages/ and Annotations/;
for splits of your own ImageSets/Main/{train,val,test}.txt with one NAME a line, or train/, val/ and test/"""
Pairs = list[tuple[str, Path]]  # names of images below the root, with their annotations


class VocFolder(BoxImages):
    """The images below `root` with the XML files of equal names, as PASCAL VOC and labelImg write them.

    Splits: the lists of `ImageSets/Main`, or the folders `train`, `val` and `test` (`valid` and others too),
    otherwise `all`. Classes: the sorted names of the objects, or `classes` in your order. Corners count from
    1 and are inclusive, as in PASCAL VOC: 1 is taken off xmin and ymin. Difficult objects are `ignore`, parts
    of objects are left out. A file without an object is a negative; an image without a file is left out and
    counted. Counts, licence and citation are those of your images.
    """

    def read(self, root: Path, split: str) -> list[Annotated]:
        """Read the XML files of a split."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        return [
            Annotated(name, _flat(found.objects(numbers, path=path)), found.size, path)
            for name, path, found in _read(_parts(root)[split])
        ]

    @classmethod
    def find_splits(cls, *, root: str | Path, **options: object) -> tuple[str, ...]:
        """Return the splits that this folder has."""
        return tuple(_parts(Path(root)))

    @classmethod
    def find_classes(
        cls, *, root: str | Path, classes: Sequence[str] | None = None, **options: object
    ) -> list[str]:
        """Return the class names: those given, or the sorted names of the objects of all splits."""
        pairs = [pair for part in _parts(Path(root)).values() for pair in part]
        return class_names(
            (name for _, _, found in _read(pairs) for name in found.names), classes=classes, where=root
        )


def _read(pairs: Pairs) -> Iterator[tuple[str, Path, Annotation]]:
    for name, path in pairs:
        yield name, path, read_annotation(path)


def _flat(objects: Objects) -> Objects:
    """Leave boxes whose corners are equal in the file without area, which inclusive ones would add."""
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    flat = (sides <= 1).any(axis=1)
    corners = np.where(flat[:, None], np.tile(objects.boxes[:, 2:], 2), objects.boxes)
    return objects._replace(boxes=corners)


def _parts(root: Path) -> dict[str, Pairs]:
    """Map split names to images and annotations; FileNotFoundError says what a usable folder looks like."""
    if not root.is_dir():
        raise _missing(root)
    folders = {split: path for name, path in visible_folders(root).items() if (split := split_named(name))}
    if "train" in folders:
        return {name: _pairs(folders[name], root) for name in ("train", "val", "test") if name in folders}
    pairs = _pairs(root, root)
    lists = {name: root / LISTS / f"{name}.txt" for name in ("train", "val", "test")}
    if not lists["train"].is_file():
        return {"all": pairs}
    of = {Path(name).stem: (name, path) for name, path in pairs}
    return {name: _listed(path, of, root) for name, path in lists.items() if path.is_file()}


def _listed(path: Path, pairs: dict[str, tuple[str, Path]], root: Path) -> Pairs:
    names = read_list(path)
    if lacking := [name for name in names if name not in pairs]:
        raise FileNotFoundError(
            f"{path} lists {counted(len(lacking), 'name')} without an image and an XML file below {root}, "
            f"such as {lacking[0]}: add the files, or remove the lines"
        )
    return [pairs[name] for name in names]


def _pairs(folder: Path, root: Path) -> Pairs:
    """Return the images below a folder that have an XML file of equal name, with it."""
    found = sorted(path.relative_to(root) for path in folder.rglob("*.[xX][mM][lL]"))
    shown = [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]
    files = _by_stem(shown, folder)
    images = _by_stem(list_images(folder, root=root)[0], folder)
    if not files or not images:
        raise _missing(folder)
    if alone := sorted(files.keys() - images.keys()):
        raise FileNotFoundError(
            f"{counted(len(alone), 'XML file')} without an image of its name below {folder}, such as "
            f"{root / files[alone[0]]}: add the image, or remove the file"
        )
    _say_bare(folder, len(images.keys() - files.keys()))
    return [(images[stem], root / files[stem]) for stem in sorted(files)]


def _by_stem(names: Sequence[str], folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        stem = Path(name).stem
        if stem in found:
            raise ValueError(f"{folder} has {found[stem]} and {name}, of one name: rename one")
        found[stem] = name
    return found


@cache
def _say_bare(folder: Path, count: int) -> None:
    if count:
        log.warning(
            "%s: left out %s without an XML file; one without an object makes it a negative",
            folder, counted(count, "image"),
        )  # fmt: skip


def _missing(path: Path) -> FileNotFoundError:
    reason = f"It holds {describe(path)}." if path.is_dir() else ""
    page = "put your images and XML files there, or give data.root=DIR"
    return not_found(
        name="images with XML files", path=path, page=page, layout=LAYOUT, reason=reason, download=False
    )
