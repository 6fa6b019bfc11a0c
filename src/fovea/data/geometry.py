"""Bring images with their annotations to the input size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fovea.ops.annotations import VISIBLE
from fovea.ops.placement import Size, place
from fovea.types import IGNORE, Sample


def fit_sample(
    sample: Sample,
    *,
    size: Size,
    interpolation: str,
    crop_pct: float = 1.0,
    resize: str = "crop",
    fill: Sequence[int] = (0,),
) -> Sample:
    """Bring a sample with an image (H, W, C) uint8 to `size`, as `place` says; borders get the colour `fill`.

    Boxes are cut, and dropped where little of them stays.
    """
    image = sample["image"]
    where = place(image.shape[:2], size=size, resize=resize, crop_pct=crop_pct)
    if where.scaled == where.shape == size:
        return sample
    out: Sample = {**sample, "image": where.raster(image, interpolation=interpolation, fill=fill)}
    if "mask" in sample:
        out["mask"] = where.raster(sample["mask"], fill=IGNORE)
    if "instances" in sample:
        out["instances"] = where.raster(sample["instances"])
    if "keypoints" in sample:
        out["keypoints"] = visible(where.points(sample["keypoints"]), size)
    if "boxes" in sample:
        corners = where.points(sample["boxes"].reshape(-1, 2)).reshape(-1, 4)
        boxes, keep = cut_boxes(corners, size)
        out = keep_boxes({**out, "boxes": boxes}, keep)
    return out


def visible(points: np.ndarray, size: Size) -> np.ndarray:
    """Return the points (K, 2) with NaN for those outside the image."""
    inside = ((points >= 0) & (points < [size[1], size[0]])).all(axis=1, keepdims=True)
    return np.where(inside, points, np.nan).astype(np.float32)


def cut_boxes(boxes: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Cut boxes (N, 4) to the image; also return which of them (N,) keep enough of their area."""
    height, width = size
    cut = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
    sides, whole = cut[:, 2:] - cut[:, :2], boxes[:, 2:] - boxes[:, :2]
    keep = (sides > 0).all(axis=1) & (sides.prod(axis=1) >= VISIBLE * whole.prod(axis=1))
    return cut, keep


def keep_boxes(sample: Sample, keep: np.ndarray) -> Sample:
    """Keep these boxes (N,), with their classes and instances."""
    if keep.all():
        return sample
    out: Sample = {**sample}
    for key in ("boxes", "labels", "ignore"):
        if key in sample:
            out[key] = sample[key][keep]
    if "instances" in sample:
        table = np.zeros(256, dtype=np.uint8)
        table[IGNORE] = IGNORE
        kept = np.flatnonzero(keep)
        kept = kept[kept < IGNORE - 1]  # further objects have no number in an 8-bit map
        table[1 + kept] = 1 + np.arange(len(kept))
        out["instances"] = table[sample["instances"]]
    return out
