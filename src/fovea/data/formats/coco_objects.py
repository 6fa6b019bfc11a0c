"""Read the objects of a COCO file: boxes, categories and crowds of each image, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fovea.data.formats.coco_json import column, group, numbers, positions, table
from fovea.data.formats.named_files import check_name
from fovea.data.formats.objects import flag


class Categories(NamedTuple):
    """The categories of a file in the order of their ids, which may have gaps."""

    ids: np.ndarray  # (K,) int64
    names: list[str]


class CocoObjects(NamedTuple):
    """The objects of all images, those of one image side by side; M objects of N images."""

    boxes: np.ndarray  # (M, 4) float32, x1 y1 x2 y2
    labels: np.ndarray  # (M,) int64, positions among the categories
    crowd: np.ndarray  # (M,) bool
    order: np.ndarray  # (M,) int64, where each object stands in the file
    start: np.ndarray  # (N + 1,) int64, where the objects of each image start


def read_categories(document: Mapping[str, Any], *, path: Path) -> Categories:
    """Return the categories; ValueError names the file and what is wrong."""
    rows = table(document, "categories", path=path)
    ids = numbers(column(rows, "id", path=path, what="categories"), path=path, what="category id")
    names = column(rows, "name", path=path, what="categories")
    order = np.argsort(ids, kind="stable")
    texts = [str(name) if type(name) in (int, float) else name for name in names]
    return Categories(ids[order], [check_name(texts[i], what="category name", where=path) for i in order])


def read_coco_objects(document: Mapping[str, Any], categories: Categories, *, path: Path) -> CocoObjects:
    """Return the objects of all images of a file; ValueError names an id that it does not list."""
    rows = table(document, "annotations", path=path)
    known = column(table(document, "images", path=path), "id", path=path, what="images")
    values = {
        key: column(rows, key, path=path, what="annotations") for key in ("image_id", "category_id", "bbox")
    }
    image_ids = numbers(values["image_id"], path=path, what="image_id")
    owner = positions(image_ids, numbers(known, path=path, what="image id"), path=path, what="image id")
    category = numbers(values["category_id"], path=path, what="category_id")
    labels = positions(category, categories.ids, path=path, what="category id")
    xywh = numbers(values["bbox"], path=path, what="bbox", width=4)
    crowd = np.array([flag(row.get("iscrowd"), key="iscrowd", where=path) for row in rows], dtype=bool)
    order, start = group(owner, len(known))
    with np.errstate(over="ignore", invalid="ignore"):  # such boxes are bad ones
        boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32)
    return CocoObjects(boxes[order], labels[order], crowd[order], order, start)


def category_ids(classes: Sequence[str], known: Mapping[str, int]) -> list[int]:
    """Return the id of each class in its JSON files; classes that those lack get ids behind all others."""
    largest, ids = max(known.values(), default=0), []
    for name in classes:
        if (number := known.get(name, -1)) < 0:
            largest = number = max(largest, 0) + 1
        ids.append(number)
    return ids
