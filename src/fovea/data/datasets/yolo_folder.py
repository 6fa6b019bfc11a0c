"""Load any folder of images with one text file of boxes for each, as YOLO reads them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from os.path import relpath
from pathlib import Path

from fovea.data.box_images import Annotated, BoxImages, check_names
from fovea.data.fetch.missing import not_found
from fovea.data.formats.listing import describe, list_images, split_named, visible_folders
from fovea.data.formats.objects import Objects
from fovea.data.formats.yolo_files import DataYaml, find_yaml, label_file, read_data_yaml, read_labels
from fovea.page.formats import counted
from fovea.reading import read_bytes

log = logging.getLogger(__name__)
LISTED = 50  # bad lines in a message
LAYOUT = """data.yaml with train, val and names; images/…/NAME.jpg and labels/…/NAME.txt, of equal names;
or classes.txt with one class a line beside images/ and labels/, where train/, val/ and test/ may lie inside
or around them"""


class YoloFolder(BoxImages):
    """The images of `root` with a text file each, `class x y width height` a line, as shares of the sides.

    Splits: those of `data.yaml`, or the folders train, val and test, otherwise `all`. Classes: `names` of
    data.yaml, or the lines of classes.txt, or `classes`, which must be as many. Outlines (class x1 y1 x2 y2
    …) become their boxes. An image without a file, or with an empty one, is a negative, and is counted.
    Counts, licence and citation are those of your images.
    """

    shares = True

    def read(self, root: Path, split: str) -> list[Annotated]:
        """Read the text files of a split."""
        files = {image: label_file(image) for image in _open(root, self.classes).images[split]}
        there = {image: path if path.is_file() else None for image, path in files.items()}
        if not any(there.values()) and split in ("all", "train"):
            raise FileNotFoundError(
                f"no image of {root} has a text file with its boxes: looked for "
                f"{next(iter(files.values()))} and others. Expected {LAYOUT}"
            )
        _say_bare(root, split, sum(path is None for path in there.values()))
        objects = _read_all([path for path in there.values() if path], self.classes)
        none = Objects.of([], [])
        return [
            Annotated(relpath(image, root), objects[path] if path else none, None, path)
            for image, path in there.items()
        ]

    @classmethod
    def find_splits(cls, *, root: str | Path, **options: object) -> tuple[str, ...]:
        """Return the splits that this folder has."""
        return tuple(_open(Path(root), None, named=False).images)

    @classmethod
    def find_classes(
        cls, *, root: str | Path, classes: Sequence[str] | None = None, **options: object
    ) -> list[str]:
        """Return the class names, in the order of their numbers in the files."""
        return _open(Path(root), classes).classes


def _open(root: Path, classes: Sequence[str] | None, *, named: bool = True) -> DataYaml:
    """Return class names and images of a folder."""
    file = find_yaml(root)
    if file is not None:
        found = read_data_yaml(file)
    else:
        images = _by_folder(root)
        found = DataYaml(_classes_txt(root) if named and classes is None else [], images)
    if classes is None:
        return found
    names = check_names(classes)
    if found.classes and len(names) != len(found.classes):
        raise ValueError(
            f"data.dataset.classes={names} has {counted(len(names), 'name')}, but {file} "
            f"{len(found.classes)}: they name the same classes, in the order of their numbers"
        )
    return found._replace(classes=names)


def _classes_txt(root: Path) -> list[str]:
    places = [root / "classes.txt", root / "labels" / "classes.txt", root / "obj.names"]
    file = next((path for path in places if path.is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"{root} has neither data.yaml nor classes.txt, so that classes have numbers alone: write one, "
            "or set data.dataset.classes=[…], from class 0 on"
        )
    text = read_bytes(file).decode("utf-8-sig", errors="replace")
    return check_names([line.strip() for line in text.splitlines() if line.strip()], where=file)


def _by_folder(root: Path) -> dict[str, list[Path]]:
    """Map split names to images: of train/images, of images/train, or of all folders together."""
    for start in (root / "images", root):
        folders = visible_folders(start) if start.is_dir() else {}
        splits = {split: path for name, path in folders.items() if (split := split_named(name))}
        if "train" in splits:
            return {name: _images(splits[name]) for name in ("train", "val", "test") if name in splits}
    return {"all": _images(root / "images" if (root / "images").is_dir() else root)}


def _images(folder: Path) -> list[Path]:
    names = list_images(folder, root=folder)[0] if folder.is_dir() else []
    if not names:
        raise not_found(
            name="images with YOLO's labels", path=folder, layout=LAYOUT, download=False,
            page="put your images and labels there, or give data.root=DIR",
            reason=f"It holds {describe(folder)}." if folder.is_dir() else "",
        )  # fmt: skip
    return [folder.absolute() / name for name in names]


def _read_all(paths: Sequence[Path], classes: Sequence[str]) -> dict[Path, Objects]:
    """Read every file; ValueError lists the bad lines of all."""
    found, wrong = {}, []
    for path in paths:
        try:
            found[path] = read_labels(path, classes=classes)
        except ValueError as error:
            wrong += str(error).splitlines()
    if wrong:
        more = [f"… and {len(wrong) - LISTED} more"] if len(wrong) > LISTED else []
        raise ValueError("\n".join([*wrong[:LISTED], *more]))
    return found


@cache
def _say_bare(root: Path, split: str, count: int) -> None:
    if count:
        log.warning(
            "%s, %s: %s without a text file of boxes: read as negatives", root, split, counted(count, "image")
        )
