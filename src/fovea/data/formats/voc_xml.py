"""Read the objects of an annotation file of PASCAL VOC."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from fovea.data.formats.named_files import check_name
from fovea.data.formats.objects import Objects, flag, stated
from fovea.reading import read_bytes

CORNERS = ("xmin", "ymin", "xmax", "ymax")
FROM_ONE = (1, 1, 0, 0)  # what is taken off inclusive corners that count from 1


class Annotation(NamedTuple):
    """What one file says of its objects, uncut; their classes as names."""

    names: list[str]
    boxes: np.ndarray  # (N, 4) float64, x1 y1 x2 y2
    difficult: np.ndarray  # (N,) bool
    size: tuple[int, int] | None  # width and height, where the file states both

    def objects(self, classes: Mapping[str, int], *, path: Path) -> Objects:
        """Return the objects with the numbers of their classes; ValueError names an unknown class."""
        for name in self.names:
            if name not in classes:
                raise ValueError(
                    f"{path} has an object of class {name!r}, expected one of {', '.join(classes)}"
                )
        return Objects.of(self.boxes, [classes[name] for name in self.names], self.difficult)


def read_annotation(path: Path) -> Annotation:
    """Return the objects of a file without their parts; ValueError names the file, the key and the remedy.

    Corners count from 1 and belong to the object: 1 is taken off xmin and ymin. Difficult ones are flagged.
    """
    document = _parse(path)
    found = document.findall("object")
    boxes = np.array([_box(item, path) for item in found], dtype=np.float64).reshape(-1, 4) - FROM_ONE
    flags = [flag(item.findtext("difficult"), key="<difficult>", where=path) for item in found]
    if not found and document.tag != "annotation":
        raise ValueError(f"{path} holds <{document.tag[:30]}>, expected <annotation>: get it again")
    names = [check_name(_text(item, "name", path), what="<name>", where=path) for item in found]
    return Annotation(names, boxes, np.array(flags, dtype=bool), _size(document, path))


def read_objects(path: Path, *, classes: Mapping[str, int]) -> Objects:
    """Return the objects of a file with the numbers of their classes."""
    return read_annotation(path).objects(classes, path=path)


def _size(document: ElementTree.Element, path: Path) -> tuple[int, int] | None:
    texts = [(document.findtext(f"size/{key}") or "").strip() for key in ("width", "height")]
    # of thousands of digits int() makes no number: some are enough to see that no photo is that large
    width, height = (int(text[:20]) if text.isascii() and text.isdigit() else 0 for text in texts)
    return stated(width, height, where=path)


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


def _text(item: ElementTree.Element, key: str, path: Path) -> str:
    text = item.findtext(key)  # the first child: parts with the same keys are nested deeper
    if text is None or not text.strip():
        raise ValueError(f"{path} has an object without <{key}>: correct the file or get it again")
    return text.strip()


def _box(item: ElementTree.Element, path: Path) -> list[float]:
    texts = [_text(item, f"bndbox/{key}", path) for key in CORNERS]
    try:
        return [float(text) for text in texts]  # a few official files have fractions of pixels
    except ValueError:
        raise ValueError(
            f"{path} has a <bndbox> of {reprlib.repr(texts)}, expected 4 numbers: correct it"
        ) from None
