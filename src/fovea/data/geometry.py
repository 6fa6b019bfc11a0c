"""Bring images with their annotations to the input size."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from fovea.ops.annotations import VISIBLE
from fovea.types import IGNORE, Sample

INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
    "area": cv2.INTER_AREA,
}
NEAREST = cv2.INTER_NEAREST_EXACT  # by the centres of pixels: INTER_NEAREST moves a mask by half a pixel
RESIZE = ("crop", "pad", "stretch")
Size = tuple[int, int]  # height, width


class Placement(NamedTuple):
    """Where the part `top, left, height, width` of an image goes in one of `size`: `inner` at `offset`."""

    top: int
    left: int
    height: int
    width: int
    inner: Size
    offset: Size
    size: Size

    @property
    def shrinks(self) -> bool:
        """Whether pixels are lost in some direction."""
        return self.inner[0] < self.height or self.inner[1] < self.width

    def raster(self, pixels: np.ndarray, *, flag: int, fill: int = 0) -> np.ndarray:
        """Cut, resize and pad (H, W) or (H, W, C) to (*size[, C])."""
        cut = pixels[self.top : self.top + self.height, self.left : self.left + self.width]
        if cut.shape[:2] != self.inner:
            cut = cv2.resize(cut, self.inner[::-1], interpolation=flag)
        if cut.ndim < pixels.ndim:
            cut = cut[..., None]
        if self.inner == self.size:
            return cut
        out = np.full((*self.size, *pixels.shape[2:]), fill, dtype=pixels.dtype)
        y, x = self.offset
        out[y : y + self.inner[0], x : x + self.inner[1]] = cut
        return out

    @property
    def _scale(self) -> np.ndarray:
        return np.array([self.inner[1] / self.width, self.inner[0] / self.height])  # x, y

    def points(self, xy: np.ndarray) -> np.ndarray:
        """Map points (N, 2), x y in pixels, into the new image."""
        return ((xy - [self.left, self.top]) * self._scale + self.offset[::-1]).astype(np.float32)

    def back(self, xy: np.ndarray) -> np.ndarray:
        """Map points (N, 2) of the new image back into the old one."""
        return ((xy - self.offset[::-1]) / self._scale + [self.left, self.top]).astype(np.float32)


def place(shape: Size, *, size: Size, resize: str = "crop", crop_pct: float = 1.0) -> Placement:
    """Decide how an image of `shape` becomes one of `size`.

    crop: the centred part with the aspect of `size`, `crop_pct` of what fits; pad: the whole image, centred
    between borders; stretch: the whole image, changing its aspect.
    """
    height, width = shape
    if resize == "stretch":
        return Placement(0, 0, height, width, size, (0, 0), size)
    if resize == "pad":
        scale = min(size[0] / height, size[1] / width)
        inner = (min(size[0], max(1, round(height * scale))), min(size[1], max(1, round(width * scale))))
        return Placement(
            0, 0, height, width, inner, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2), size
        )
    if (height, width) == size:
        return Placement(0, 0, height, width, size, (0, 0), size)
    scale = max(size[0] / height, size[1] / width) / crop_pct
    crop_h, crop_w = (
        max(1, min(have, round(want / scale))) for have, want in zip((height, width), size, strict=True)
    )
    top, left = round((height - crop_h) / 2), round((width - crop_w) / 2)
    return Placement(top, left, crop_h, crop_w, size, (0, 0), size)


def fit_sample(
    sample: Sample, *, size: Size, interpolation: str, crop_pct: float = 1.0, resize: str = "crop"
) -> Sample:
    """Bring a sample with an image (H, W, C) uint8 to `size`, as `place` says; if it has it, it stays.

    Shrinking averages areas, whatever the interpolation, so that it does not alias. Boxes are cut, and
    dropped where little of them stays.
    """
    image = sample["image"]
    if image.shape[:2] == size:
        return sample
    where = place(image.shape[:2], size=size, resize=resize, crop_pct=crop_pct)  # type: ignore[arg-type]
    flag = cv2.INTER_AREA if where.shrinks else INTERPOLATION[interpolation]
    out: Sample = {**sample, "image": where.raster(image, flag=flag)}
    if "mask" in sample:
        out["mask"] = where.raster(sample["mask"], flag=NEAREST, fill=IGNORE)
    if "instances" in sample:
        out["instances"] = where.raster(sample["instances"], flag=NEAREST)
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
            out[key] = sample[key][keep]  # type: ignore[literal-required]
    if "instances" in sample:
        table = np.zeros(256, dtype=np.uint8)
        table[IGNORE] = IGNORE
        kept = np.flatnonzero(keep)
        kept = kept[kept < IGNORE - 1]  # further objects have no number in an 8-bit map
        table[1 + kept] = 1 + np.arange(len(kept))
        out["instances"] = table[sample["instances"]]
    return out
