"""Read the files of YOLO's format: data.yaml, lists of images, and one text file of boxes for each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os.path import normpath
from pathlib import Path
from reprlib import repr as short
from typing import Any, NamedTuple

import numpy as np

from fovea.data.formats.listing import list_images
from fovea.data.formats.named_files import check_name, find_twice, inside
from fovea.data.formats.objects import Objects
from fovea.page.formats import counted
from fovea.reading import read_bytes, read_yaml

YAMLS = ("data.yaml", "data.yml", "dataset.yaml")
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}  # keys of data.yaml
SLACK = 1e-3  # by which rounding takes a number above 1


class DataYaml(NamedTuple):
    """What data.yaml says."""

    classes: list[str]
    images: dict[str, list[Path]]  # of each split: absolute paths


def find_yaml(root: Path) -> Path | None:
    """Return the data.yaml of a folder, or its only YAML file."""
    named = [root / name for name in YAMLS if (root / name).is_file()]
    others = sorted(p for p in root.glob("*.y*ml") if p.is_file()) if root.is_dir() else []
    return named[0] if named else others[0] if len(others) == 1 else None


def read_data_yaml(path: Path) -> DataYaml:
    """Read class names and the images of each split; ValueError names the file, the key and the remedy."""
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise ValueError(f"{path} must hold keys such as train, val and names: write them")
    home = _home(document.get("path"), path.parent)
    given = {s: document[key] for s, keys in SPLITS.items() for key in keys if document.get(key) is not None}
    if "train" not in given:
        raise ValueError(
            f"{path} has no key 'train': name the folder of the training images, or a list of them"
        )
    images = {split: _once(_images(where, home, path, split)) for split, where in given.items()}
    return DataYaml(_names(document, path), images)


def _names(document: dict[str, Any], path: Path) -> list[str]:
    names = document.get("names")
    if isinstance(names, dict):
        of = {str(key): name for key, name in names.items()}
        names = [of[str(k)] for k in range(len(of))] if all(str(k) in of for k in range(len(of))) else names
    if not isinstance(names, list) or not names:
        raise ValueError(f"{path} has names={short(names)}: list the class names, from class 0 on")
    if odd := [name for name in names if isinstance(name, bool) or not isinstance(name, str | int | float)]:
        raise ValueError(
            f"{path} has the class name {short(odd[0])} (true, false, null come of yes, no, ~): quote it"
        )
    if len(set(map(str, names))) != len(names):
        raise ValueError(f"{path} names a class twice in names: rename one")
    if document.get("nc") not in (None, len(names)):
        raise ValueError(f"{path} has nc={document['nc']!r} but {len(names)} names: correct one")
    return [check_name(str(name), what="class name", where=path) for name in names]


def _home(given: Any, beside: Path) -> Path:
    """Return the folder that splits are relative to: `path` where it is there, else that of the file."""
    places = [Path(str(given)), beside / str(given)] if given else []
    return next((place for place in places if place.is_dir()), beside).absolute()


def _images(where: Any, home: Path, path: Path, split: str) -> list[Path]:
    """Return the images of a split: of folders, of text files that list them, or of several of those."""
    found: list[Path] = []
    for given in where if isinstance(where, list) else [where]:
        text = check_name(str(given) if type(given) is int else given, what=split, where=path)
        # some exports write ../train/images and mean train/images, not another set's beside this one
        places = [home / text.removeprefix("../"), home / text]
        place = next((p for p in places if p.exists()), None)
        if place is None:
            raise FileNotFoundError(
                f"{path} has {split}: {text}, which is not there: looked for {places[-1]}. Correct it"
            )
        found += _below(place) if place.is_dir() else _listed(place, [path.parent, home, place.parent])
    if not found:
        raise FileNotFoundError(f"{path} has {split}: {short(where)}, which holds no image: correct it")
    return found


def _once(images: list[Path]) -> list[Path]:
    """Return each image once, however often and in whatever spelling it is given."""
    again = {later for _, later in find_twice([normpath(image) for image in images])}
    return [image for at, image in enumerate(images) if at not in again]


def _below(folder: Path) -> list[Path]:
    return [folder / name for name in list_images(folder, root=folder)[0]]


def _listed(file: Path, homes: Sequence[Path]) -> list[Path]:
    """Return the images that a text file lists, relative to it (./) or to a home, or absolute, in a home."""
    text = read_bytes(file).decode("utf-8-sig", errors="surrogateescape")
    found: list[Path] = []
    for line, word in enumerate(text.splitlines(), start=1):
        if not word.strip():
            continue
        where = f"{file}, line {line}"
        name = check_name(word.strip(), what="image", where=where)
        folder = next((p for p in (file.parent, *homes) if (p / name).is_file()), None)
        if folder is None:
            raise FileNotFoundError(f"{where} lists {name}, which is not there: remove it")
        found += map(Path, inside([name], folder, homes=homes, where=where))
    return found


def label_file(image: Path) -> Path:
    """Return where the boxes of an image are: in labels/ instead of the last images/, or beside the image."""
    beside, parts = image.with_suffix(".txt"), list(image.parts)
    at = [k for k, part in enumerate(parts[:-1]) if part.lower() == "images"]
    if not at or beside.is_file():
        return beside
    parts[at[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def read_labels(path: Path, *, classes: Sequence[str]) -> Objects:
    """Return the objects of a file, boxes as shares of the width and height; ValueError lists the bad lines.

    A line holds class, centre x, centre y, width and height, perhaps the score of a detection, which is left
    out; or class and the corners of an outline.
    """
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8: get it again") from None
    boxes, labels, wrong = [], [], []
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            label, box = _object(text.split(), classes)
        except ValueError as error:
            wrong.append(f"{path}, line {line} {error}")
            continue
        labels.append(label)
        boxes.append(box)
    if wrong:
        raise ValueError("\n".join(wrong))
    return Objects.of(boxes, labels)


def _object(words: Sequence[str], classes: Sequence[str]) -> tuple[int, list[float]]:
    try:
        label, *values = (float(word) for word in words)
    except ValueError:
        raise ValueError(f"reads {' '.join(words)[:60]!r}, expected numbers: correct it") from None
    if len(values) == 5:  # a detection with its score
        *values, score = values
        values = values if 0 <= score <= 1 else [*values, score]
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(
            f"has {counted(len(words), 'number')}, expected class x y width height, or class x1 y1 x2 y2 x3 "
            "y3 … of an outline: correct it"
        )
    if label not in range(len(classes)):
        raise ValueError(
            f"has the class {words[0]}, but there are {counted(len(classes), 'name')}, 0 to "
            f"{len(classes) - 1}: correct it, or add the name"
        )
    if not all(map(math.isfinite, values)) or max(values) > 1 + SLACK or min(values) < -SLACK:
        raise ValueError(
            f"has {' '.join(words[1:])[:60]}, expected shares of the width and height, from 0 to 1: divide "
            "pixels by the size of the image"
        )
    if len(values) > 4:
        corners = np.array(values).reshape(-1, 2)
        return int(label), [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]
    x, y, width, height = values
    return int(label), [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
