"""Read images and labels from .npy files, without running code that a file may carry."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fovea.reading import readable

ROWS = 256  # images converted at a time


def read_images(path: Path) -> np.ndarray:
    """Map images (N, H, W, C) uint8 from a file of (N, H, W[, C]); other numbers 0…255 are converted.

    ValueError names a file that is damaged, or holds Python objects, another shape or other values.
    """
    images = _map(path)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape[1:3]:
        raise ValueError(f"{path} has shape {images.shape}, expected images as (N, height, width, 1 or 3)")
    return images if images.dtype == np.uint8 else _to_bytes(images, path)


def read_labels(path: Path, *, classes: int) -> np.ndarray:
    """Return whole numbers (N,) int64 as the file holds them, or the position of the 1 in rows of one-hot.

    ValueError names a file that is damaged, or holds Python objects, fractions or another shape.
    """
    values = np.array(_map(path))
    if values.ndim == 2 and values.shape[1] == classes and classes > 1:
        if not (np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()):
            raise ValueError(f"{path} is not one-hot: each of its {len(values)} rows must hold a single 1")
        return values.argmax(axis=1).astype(np.int64)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"{path} has shape {values.shape}, expected labels as (N,) or one-hot (N, {classes})"
        )
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.rint(values))).all():
        raise ValueError(f"{path} holds labels that are not whole numbers")
    return values.astype(np.int64)


def lowest_label(path: Path, *, classes: int) -> int:
    """Return the smallest label as the file holds it, 0 for one-hot rows, `classes` for an empty file."""
    if _map(path).shape[1:] == (classes,):
        return 0
    return int(read_labels(path, classes=classes).min(initial=classes))


def _map(path: Path) -> np.ndarray:
    with readable(path, "array"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is an archive of arrays, expected one array as np.save writes it")
    if array.dtype.kind not in "uifb":
        raise ValueError(f"{path} holds {array.dtype}, expected numbers")
    return array


def _to_bytes(images: np.ndarray, path: Path) -> np.ndarray:
    """Convert numbers 0…255 to uint8, some images at a time: the file may be larger than the memory."""
    out = np.empty(images.shape, dtype=np.uint8)
    highest = 0.0
    for start in range(0, len(images), ROWS):
        part = np.asarray(images[start : start + ROWS])
        if not np.isfinite(part).all() or part.min() < 0 or part.max() > 255:
            raise ValueError(f"{path} holds values outside 0…255: save the images as uint8")
        highest = max(highest, float(part.max()))
        out[start : start + ROWS] = np.rint(part)
    if images.dtype.kind == "f" and 0 < highest <= 1:
        raise ValueError(f"{path} holds values 0…1, expected 0…255: save 255 times the values as uint8")
    return out
