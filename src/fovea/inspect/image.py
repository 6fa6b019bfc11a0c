"""Inspect every image of a split once, and keep what the checks and the statistics need."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from fovea.data.cache import cores
from fovea.data.images import read_image
from fovea.inspect import hashes
from fovea.inspect.annotations import check_boxes, check_sample, check_stated_size
from fovea.inspect.files import Problem, check_file, check_turned
from fovea.inspect.findings import KINDS, Finding
from fovea.inspect.splits import SplitPart
from fovea.types import IGNORE, Sample

BLOCK = 128  # images handed out at a time: what is finished after Ctrl-C


@dataclass(slots=True)
class ImageRecord:
    """The record of an image: findings, size, statistics; where it could not be decoded, `size` is None."""

    index: int
    findings: list[Finding] = field(default_factory=list)
    size: tuple[int, int] | None = None  # (width, height)
    digest: bytes = b""
    hash: int = 0
    thumbnail: np.ndarray | None = None  # (12, 12, C) uint8
    mean: np.ndarray | None = None  # (C,) of pixels in 0…1
    square: np.ndarray | None = None  # (C,) mean of their squares
    box_labels: np.ndarray | None = None  # (N,)
    box_sizes: np.ndarray | None = None  # (N, 2) width and height in pixels
    pixels: np.ndarray | None = None  # (256,) how many pixels have each mask value
    captions: list[int] | None = None  # words of each
    words: Counter[str] | None = None


def inspect_split(
    part: SplitPart, *, channels: int, side: int, advance: Callable[[int], object] = lambda count: None
) -> list[ImageRecord]:
    """Return a record of every image, in order; decoders let other threads run meanwhile.

    `advance` hears how many images were done since it was last called.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # our threads are enough
    records: list[ImageRecord] = []
    try:
        with ThreadPoolExecutor(cores()) as pool:
            for start in range(0, len(part), BLOCK):
                block = range(start, min(start + BLOCK, len(part)))
                records += pool.map(
                    lambda index: inspect_image(part, index, channels=channels, side=side), block
                )
                advance(len(block))
    finally:
        cv2.setNumThreads(threads)
    return records


def inspect_image(part: SplitPart, index: int, *, channels: int, side: int) -> ImageRecord:
    """Check the files of an image and its annotations; `side` is the shorter side that networks will see."""
    record = ImageRecord(index)
    files = part.files(index)
    readable = True
    for role, path in files.items():
        problems, ok = check_file(path, role=role, channels=channels)
        _report(record, part, problems, path)
        readable &= ok or role != "image"
    if not readable:
        return record
    if {"mask", "boxes", "instances", "keypoints"} & set(part.targets):
        _report(record, part, check_turned(files.get("image")), files.get("image"))
    image, sample = _read(record, part, files, channels)
    if image is not None:
        _measure(record, image, side)
        _report(record, part, check_stated_size(part.stated_size(index), image), None)
    if sample is not None:
        boxes = part.raw_boxes(index) if "boxes" in sample else None
        names, values = part.classes, part.mask_classes
        _report(record, part, check_sample(sample, classes=names, mask_classes=values, boxes=boxes), None)
        _annotated(record, sample)
    return record


def _report(record: ImageRecord, part: SplitPart, problems: Sequence[Problem], path: Path | None) -> None:
    name = part.name(record.index) if path is None else str(path)
    record.findings += [Finding(kind, part.split, name, text, record.index) for kind, text in problems]


def _read(
    record: ImageRecord, part: SplitPart, files: dict[str, Path], channels: int
) -> tuple[np.ndarray | None, Sample | None]:
    """Load a sample; where its annotations are at fault, decode the image alone."""
    try:
        sample = part.load(record.index)
        return sample["image"], sample
    except Exception as error:  # a data set may fail in any way on damaged files
        image = decode(files.get("image"), channels)
        if not any(finding.severity == "error" for finding in record.findings):  # else it is the consequence
            _report(record, part, [attribute_error(error, files, decoded=image is not None)], None)
            _salvage(record, part, image)
        return image, None


def decode(path: Path | None, channels: int) -> np.ndarray | None:
    """Read an image, or return None where that fails."""
    try:
        return None if path is None else read_image(path, channels=channels)
    except (OSError, ValueError):
        return None


def attribute_error(error: Exception, files: dict[str, Path], *, decoded: bool) -> Problem:
    """Attribute a loading error to the image, its mask or another annotation."""
    text = str(error).strip().split("\n")[0] or type(error).__name__
    if not isinstance(error, ValueError | OSError):
        text = f"{type(error).__name__}: {text}"
    if files and not decoded:
        return "corrupt", text
    masks = [files[role] for role in ("mask", "instances") if role in files]
    return ("bad mask" if any(str(path) in text for path in masks) else "bad annotation"), text


def _salvage(record: ImageRecord, part: SplitPart, image: np.ndarray | None) -> None:
    """Name each wrong box of a sample that was refused for one of them."""
    boxes = part.raw_boxes(record.index)
    if boxes is None or image is None:
        return
    problems = check_boxes(boxes, width=image.shape[1], height=image.shape[0])
    if any(KINDS[kind][0] == "error" for kind, _ in problems):
        record.findings.pop()  # these say it better
    _report(record, part, problems, None)


def _measure(record: ImageRecord, image: np.ndarray, side: int) -> None:
    height, width = image.shape[:2]
    record.size = (width, height)
    record.digest, record.hash = hashes.digest(image), hashes.perceptual_hash(image)
    record.thumbnail = hashes.thumbnail(image)
    scale = side / min(height, width)
    if scale < 1:  # to the size at which networks see it: shrinking evens pixels out
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    mean, spread = cv2.meanStdDev(image)
    record.mean = mean[:, 0] / 255
    record.square = (spread[:, 0] / 255) ** 2 + record.mean**2


def _annotated(record: ImageRecord, sample: Sample) -> None:
    if "boxes" in sample:
        boxes = np.asarray(sample["boxes"], dtype=np.float32).reshape(-1, 4)
        record.box_sizes = boxes[:, 2:] - boxes[:, :2]
        record.box_labels = np.asarray(sample.get("labels", np.zeros(len(boxes))), dtype=np.int64)
    if "mask" in sample:
        record.pixels = np.bincount(sample["mask"].ravel(), minlength=IGNORE + 1)
    if "captions" in sample:
        words = [re.findall(r"\w+", caption.lower()) for caption in sample["captions"]]
        record.captions, record.words = [len(w) for w in words], Counter(word for w in words for word in w)
