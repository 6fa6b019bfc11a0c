"""Write answers as files: a table of all, boxes in COCO's format, boxes in YOLO's."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any, NamedTuple, Protocol

import numpy as np

from fovea.errors import UsageError
from fovea.files import append, clean, printable, replacing_text, write_text
from fovea.page.formats import counted, no_formula
from fovea.predict.results import Results
from fovea.types import TaskView, Truth

log = logging.getLogger(__name__)


class Named(NamedTuple):
    """An image or a frame as files name it."""

    cells: Sequence[str]  # the first columns of predictions.csv
    place: str  # its path below what was asked for
    number: int  # its id in COCO's files
    size: tuple[int, int]  # width and height


@dataclass(frozen=True)
class About:
    """What all files of a call share: where they go, the view, the first columns, classes and their ids."""

    results: Results
    view: TaskView
    heads: Sequence[str]
    names: Sequence[str] = ()
    ids: Sequence[int] = ()


class AnswerFile(Protocol):
    """A file, or several, that an answer after the other goes into."""

    def add(self, image: Named, answer: np.ndarray, truth: Truth | None) -> None:
        """Add the answer for one image."""
        ...

    def finish(self) -> Path:
        """Complete the file; return what to tell the user."""
        ...


class Table:
    """predictions.csv: the lines of each image, written at once."""

    def __init__(self, about: About) -> None:
        self._view, self._file = about.view, about.results.own("predictions.csv")
        write_text(self._file, _line([*about.heads, *about.view.columns]))

    def add(self, image: Named, answer: np.ndarray, truth: Truth | None) -> None:
        """Add the lines of an image."""
        rows = self._view.rows(answer, truth)
        cells = [[*image.cells, *(_cell(row.get(name)) for name in self._view.columns)] for row in rows]
        append(self._file, printable("".join(map(_line, cells))))

    def finish(self) -> Path:
        """Return the file."""
        return self._file


class CocoFiles:
    """COCO's format: detections.json, what its tools take as results, and annotations.json, a data set.

    Both are written at the end; until then memory holds the boxes alone.
    """

    def __init__(self, about: About) -> None:
        self._about = about
        self._images: list[Named] = []
        self._boxes: list[np.ndarray] = []

    def add(self, image: Named, answer: np.ndarray, truth: Truth | None) -> None:
        """Keep the boxes of an image."""
        self._images.append(image)
        self._boxes.append(_boxes(self._about.view, answer))

    def finish(self) -> Path:
        """Write both files."""
        found = [
            {"image_id": image.number, **self._object(box)}
            for image, boxes in zip(self._images, self._boxes, strict=True)
            for box in boxes
        ]
        path = self._about.results.own("detections.json")
        with replacing_text(path) as file:
            _rows(file, found)
        with replacing_text(self._about.results.own("annotations.json")) as file:
            file.write('{"images": ')
            _rows(file, [_image(image) for image in self._images])
            file.write(', "categories": ')
            pairs = zip(self._about.ids, self._about.names, strict=True)
            _rows(file, [{"id": i, "name": name} for i, name in pairs])
            file.write(', "annotations": ')
            numbered = enumerate(found, start=1)
            _rows(file, [{"id": i, **one, "area": _area(one), "iscrowd": 0} for i, one in numbered])
            file.write("}\n")
        return path

    def _object(self, box: np.ndarray) -> dict[str, Any]:
        x1, y1, x2, y2, score, label = box.tolist()
        return {
            "category_id": self._about.ids[int(label)],
            "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(score, 6),
        }


class YoloFiles:
    """YOLO's format: labels/ with a text file for each image, `class x y width height score` a line.

    Numbers are shares of the width and height; data.yaml and classes.txt name the classes.
    """

    def __init__(self, about: About) -> None:
        import yaml

        self._about, self._taken = about, set[str]()
        self._renamed: list[tuple[str, str]] = []
        names = list(about.names)
        text = yaml.safe_dump({"train": "images", "names": names}, allow_unicode=True, sort_keys=False)
        write_text(
            about.results.own("data.yaml"), "# the photos belong into images/, beside labels/\n" + text
        )
        write_text(about.results.own("classes.txt"), "".join(f"{' '.join(n.split())}\n" for n in names))

    def add(self, image: Named, answer: np.ndarray, truth: Truth | None) -> None:
        """Write the file of an image, an empty one where nothing was found."""
        boxes = _boxes(self._about.view, answer)
        sides = np.array(image.size)
        centres = (boxes[:, :2] + boxes[:, 2:4]) / 2 / sides
        shares = np.concatenate([centres, (boxes[:, 2:4] - boxes[:, :2]) / sides, boxes[:, 4:5]], axis=1)
        lines = [
            f"{int(label)} {' '.join(f'{value:.6f}' for value in row)}\n"
            for label, row in zip(boxes[:, 5], shares.tolist(), strict=True)
        ]
        write_text(self._about.results.own(f"labels/{self._place(image.place)}.txt"), "".join(lines))

    def finish(self) -> Path:
        """Return the folder of the files; say which no reader finds by the name of their image."""
        if self._renamed:
            image, name = self._renamed[0]
            log.warning(
                "%s in labels/ under another name than the image, since names differ in the ending or in "
                "capitals alone, or have signs that a name should not have: rename these images likewise, or "
                "their boxes are not read (%s: labels/%s.txt)",
                counted(len(self._renamed), "file"), printable(image), name,
            )  # fmt: skip
        return self._about.results.folder / "labels"

    def _place(self, place: str) -> str:
        """Return the path without the suffix, as a file system takes it and as no other image has it."""
        parts = [part for part in PurePath(place).with_suffix("").parts if part not in ("/", "..")]
        plain = "/".join(parts)
        parts = [part if printable(part) == part and "\n" not in part else clean(part) for part in parts]
        name, number = "/".join(parts), 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{'/'.join(parts)}_{number}"
        self._taken.add(name.casefold())
        if name != plain:
            self._renamed.append((place, name))
        return name


FORMATS: dict[str, Callable[[About], AnswerFile]] = {"csv": Table, "coco": CocoFiles, "yolo": YoloFiles}


def choose(names: Sequence[str], view: TaskView) -> list[Callable[[About], AnswerFile]]:
    """Return the formats of these names; UsageError where there is none, or where a task lacks boxes."""
    for name in names or [""]:
        if name not in FORMATS:
            raise UsageError(f"format is {name!r}; allowed: {', '.join(FORMATS)}, or several: [csv,coco]")
        if name != "csv" and view.boxes is None:
            raise UsageError(f"format={name} is for runs that find boxes; this one has format=csv")
    return [FORMATS[name] for name in dict.fromkeys(names)]


def category_ids(labelling: Mapping[str, Any], count: int) -> list[int]:
    """Return the ids of the classes: those of the data that trained the run, else 1, 2, 3, … as in COCO."""
    known = labelling.get("category_ids") or range(1, count + 1)
    return [int(i) for i in known]


def _boxes(view: TaskView, answer: np.ndarray) -> np.ndarray:
    """Return the boxes (n, 6) that have an area: without one no reader takes them."""
    if view.boxes is None:
        raise ValueError(f"{type(view).__name__} has no boxes: `choose` refuses a format of boxes then")
    found = np.asarray(view.boxes(answer), dtype=np.float64).reshape(-1, 6)
    return found[(found[:, 2:4] - found[:, :2] > 1e-3).all(axis=1)]


def _image(image: Named) -> dict[str, Any]:
    return {"id": image.number, "file_name": image.place, "width": image.size[0], "height": image.size[1]}


def _area(one: Mapping[str, Any]) -> float:
    return round(one["bbox"][2] * one["bbox"][3], 3)


def _rows(file: IO[str], values: Sequence[Mapping[str, Any]]) -> None:
    """Write a list with an entry a line."""
    file.write("[")
    for number, value in enumerate(values):
        file.write((",\n" if number else "\n") + json.dumps(value))
    file.write("\n]")


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(map(no_formula, cells))
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
