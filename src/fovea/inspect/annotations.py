"""Check the annotations of one image: label, boxes, masks, captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fovea.inspect.files import Problem
from fovea.types import IGNORE, Sample

TINY = 3.0  # pixels
ROUNDING = 1.0  # pixels by which a box may reach beyond its image unmentioned
SHOWN = 3  # problems of one kind that are said of one image


def check_sample(
    sample: Sample,
    *,
    classes: Sequence[str],
    mask_classes: Sequence[str] | None = None,
    boxes: np.ndarray | None = None,
) -> list[Problem]:
    """Check one loaded sample; `mask_classes` name the mask values where those are not `classes`.

    `boxes` (N, 4) are those of the file, where the sample's were cut to the image.
    """
    named = classes if mask_classes is None else mask_classes
    height, width = sample["image"].shape[:2]
    problems = check_label(sample.get("label"), classes=classes)
    if "boxes" in sample:
        problems += check_boxes(sample["boxes"] if boxes is None else boxes, width=width, height=height)
        problems += check_box_labels(sample.get("labels"), count=len(sample["boxes"]), classes=classes)
    if "mask" in sample:
        problems += check_mask(sample["mask"], size=(height, width), classes=named)
    if "instances" in sample:
        problems += check_instances(sample["instances"], size=(height, width), boxes=sample.get("boxes"))
    if "captions" in sample:
        problems += check_captions(sample["captions"])
    return problems + (check_object(sample, classes=named) if not problems else [])


def check_label(label: int | None, *, classes: Sequence[str]) -> list[Problem]:
    """Find a label that is no class."""
    if label is None or 0 <= label < len(classes):
        return []
    return [("bad label", f"label {label} is not 0 to {len(classes) - 1}")]


def check_boxes(boxes: np.ndarray, *, width: int, height: int) -> list[Problem]:
    """Find boxes (N, 4) xyxy without area, outside the image, over its edge, or tiny."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    size = np.array([width, height])
    low, high = boxes[:, :2], boxes[:, 2:]
    with np.errstate(invalid="ignore"):
        flat = ~np.isfinite(boxes).all(axis=1) | (high <= low).any(axis=1)
        outside = ~flat & ((high <= 0) | (low >= size)).any(axis=1)
        over = ~flat & ~outside & ((low < -ROUNDING) | (high > size + ROUNDING)).any(axis=1)
        tiny = ~flat & ~outside & ((high - low) < TINY).any(axis=1)
    where = f"in a {width}×{height} image"
    problems: list[Problem] = []
    for kind, chosen in (("box without area", flat), ("box outside", outside), ("box over edge", over)):
        problems += _some(kind, [f"{_shown(box)} {where}" for box in boxes[chosen]])
    return problems + _some("tiny box", [_shown(box) for box in boxes[tiny]])


def _shown(box: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:g}" for value in np.round(box, 2)) + ")"


def _some(kind: str, messages: list[str]) -> list[Problem]:
    """List the first few of an image's many problems, and count the others."""
    said = [(kind, message) for message in messages[:SHOWN]]
    more = len(messages) - SHOWN
    return [*said, (kind, f"and {more} more in this image")] if more > 0 else said


def check_stated_size(stated: tuple[int, int] | None, image: np.ndarray) -> list[Problem]:
    """Find an annotation that states another width and height than its image (H, W, C) has."""
    height, width = image.shape[:2]
    if stated is None or stated == (width, height):
        return []
    return [("stated size", f"the annotation says {stated[0]}×{stated[1]}, the image is {width}×{height}")]


def check_box_labels(labels: np.ndarray | None, *, count: int, classes: Sequence[str]) -> list[Problem]:
    """Find labels (N,) of boxes that are no class, or not one for each box."""
    if labels is None:
        return []
    if len(labels) != count:
        return [("bad annotation", f"{len(labels)} labels for {count} boxes")]
    wrong = sorted({int(label) for label in labels if not 0 <= label < len(classes)})
    return [("bad label", f"box label {wrong[0]} is not 0 to {len(classes) - 1}")] if wrong else []


def check_mask(mask: np.ndarray, *, size: tuple[int, int], classes: Sequence[str]) -> list[Problem]:
    """Find a mask of another size, with values that are no class, or ignored everywhere."""
    if mask.shape != size:
        return [("bad mask", f"the mask is {mask.shape[1]}×{mask.shape[0]}, the image {size[1]}×{size[0]}")]
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    wrong = [int(value) for value in values if len(classes) <= value != IGNORE]
    if wrong:
        return [("bad mask", f"the mask holds {wrong[0]}, allowed are 0 to {len(classes) - 1} and {IGNORE}")]
    return [("ignored mask", "every pixel is 255")] if values.tolist() == [IGNORE] else []


def check_instances(
    instances: np.ndarray, *, size: tuple[int, int], boxes: np.ndarray | None
) -> list[Problem]:
    """Find an instance mask of another size, or with objects that have no box."""
    if instances.shape != size:
        text = f"the instances are {instances.shape[1]}×{instances.shape[0]}, the image {size[1]}×{size[0]}"
        return [("bad mask", text)]
    most = int(instances[instances != IGNORE].max(initial=0))
    if boxes is not None and most > len(boxes):
        return [("bad mask", f"the instances count to {most}, but there are {len(boxes)} boxes")]
    return []


def check_captions(captions: Sequence[str]) -> list[Problem]:
    """Find an image without caption, or with an empty one."""
    if not captions:
        return [("empty caption", "there is no caption")]
    return _some(
        "empty caption", [f"caption {i} is empty" for i, c in enumerate(captions, 1) if not c.strip()]
    )


def check_object(sample: Mapping[str, Any], *, classes: Sequence[str]) -> list[Problem]:
    """Find an image with no box, and nothing but background in its mask."""
    if "boxes" in sample:
        return [] if len(sample["boxes"]) else [("no object", "there is no box")]
    if "mask" in sample and classes and classes[0] == "background":
        return [] if (sample["mask"] % IGNORE).any() else [("no object", "the mask is all background")]
    return []
