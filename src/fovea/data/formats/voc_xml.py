"""Read the objects of an annotation file of PASCAL VOC."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from fovea.reading import read_bytes

CORNERS = ("xmin", "ymin", "xmax", "ymax")
FROM_ONE = (1, 1, 0, 0)  # what is taken off inclusive corners that count from 1


class Objects(NamedTuple):
    """What one file says, uncut."""

    boxes: np.ndarray  # (N, 4) float32, x1 y1 x2 y2
    labels: np.ndarray  # (N,) int64
    ignore: np.ndarray  # (N,) bool, the difficult ones


def read_objects(path: Path, *, classes: Mapping[str, int]) -> Objects:
    """Return the objects of a file without their parts; ValueError names the file, the key and the remedy.

    Corners count from 1 and belong to the object: 1 is taken off xmin and ymin.
    """
    found = _parse(path).findall("object")
    boxes = np.array([_box(item, path) for item in found], dtype=np.float64).reshape(-1, 4) - FROM_ONE
    labels = np.array([_label(item, path, classes) for item in found], dtype=np.int64)
    ignore = np.array([_text(item, "difficult", path, default="0") == "1" for item in found], dtype=bool)
    return Objects(boxes.astype(np.float32), labels, ignore)


def _parse(path: Path) -> ElementTree.Element:
    try:
        text = read_bytes(path).decode("utf-8-sig")
        if "\0" in text:  # UTF-16, in which a declaration would pass the check below
            raise ValueError(f"{path} is not readable as XML in UTF-8 (it has NUL bytes): get it again")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError(f"{path} declares a DOCTYPE or ENTITY, which no annotation needs: remove it")
        return ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise ValueError(f"{path} is not readable as XML in UTF-8 ({error}): get it again") from error


def _text(item: ElementTree.Element, key: str, path: Path, default: str | None = None) -> str:
    text = item.findtext(key, default=default)  # the first child: parts with the same keys are nested deeper
    if text is None or not text.strip():
        raise ValueError(f"{path} has an object without <{key}>: correct the file or get it again")
    return text.strip()


def _box(item: ElementTree.Element, path: Path) -> list[float]:
    texts = [_text(item, f"bndbox/{key}", path) for key in CORNERS]
    try:
        return [float(text) for text in texts]  # a few official files have fractions of pixels
    except ValueError:
        raise ValueError(f"{path} has a <bndbox> of {texts}, expected 4 numbers: correct it") from None


def _label(item: ElementTree.Element, path: Path, classes: Mapping[str, int]) -> int:
    name = _text(item, "name", path)
    if name not in classes:
        raise ValueError(f"{path} has an object of class {name!r}, expected one of {', '.join(classes)}")
    return classes[name]
