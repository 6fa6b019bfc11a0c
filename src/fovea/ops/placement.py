"""Place an image in one of another size: cropped, padded or stretched, as timm does."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import NamedTuple

import numpy as np
from PIL import Image

Size = tuple[int, int]  # height, width
# Pillow's filters grow with the factor of shrinking, so that none but nearest aliases.
INTERPOLATION = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}
SLIM = 16  # images that would become as many times larger than their window: not resized as a whole
RESIZE = ("crop", "pad", "stretch")


class Placement(NamedTuple):
    """An image of `shape`, brought to `scaled`, of which a window of `size` is cut at `corner`.

    What of the window lies outside is a border.
    """

    shape: Size
    scaled: Size
    corner: Size  # top, left; below 0 where there are borders
    size: Size

    @property
    def inside(self) -> tuple[slice, slice]:
        """The rows and columns of the window that show the image; borders surround them."""
        rows, columns = (
            slice(max(0, -start), min(side, whole - start))
            for start, side, whole in zip(self.corner, self.size, self.scaled, strict=True)
        )
        return rows, columns

    def raster(
        self, pixels: np.ndarray, *, interpolation: str = "nearest", fill: int | Sequence[int] = 0
    ) -> np.ndarray:
        """Bring uint8 (H, W), (H, W, 1) or (H, W, 3) to (*size[, C]); borders have the value `fill`."""
        rows, columns = self.inside
        inner = (rows.stop - rows.start, columns.stop - columns.start)
        seen = pixels
        if self.scaled != self.shape or inner != self.shape:
            seen = self._resampled(pixels, rows, columns, INTERPOLATION[interpolation])
        if inner == self.size:
            return seen
        out = np.empty((*self.size, *pixels.shape[2:]), dtype=pixels.dtype)
        out[:] = fill
        out[rows, columns] = seen
        return out

    def _resampled(
        self, pixels: np.ndarray, rows: slice, columns: slice, resample: Image.Resampling
    ) -> np.ndarray:
        """Resize the whole image and cut it: what resizes a part rounds positions, which shows at edges."""
        image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
        top, left = self.corner
        cut = (columns.start + left, rows.start + top, columns.stop + left, rows.stop + top)
        if self.scaled[0] * self.scaled[1] > SLIM * self.size[0] * self.size[1]:
            y, x = self._scale
            edges = [
                min(edge / s, n) for edge, s, n in zip(cut, (x, y) * 2, self.shape[::-1] * 2, strict=True)
            ]
            inner = (columns.stop - columns.start, rows.stop - rows.start)
            found = image.resize(inner, resample, box=(edges[0], edges[1], edges[2], edges[3]))
        else:
            found = image.resize(self.scaled[::-1], resample).crop(cut)
        return np.array(found).reshape(found.height, found.width, *pixels.shape[2:])

    @property
    def _scale(self) -> tuple[float, float]:
        return self.scaled[0] / self.shape[0], self.scaled[1] / self.shape[1]  # y, x

    def points(self, xy: np.ndarray) -> np.ndarray:
        """Map points (N, 2), x y in pixels, into the new image."""
        return (xy * np.array(self._scale[::-1]) - self.corner[::-1]).astype(np.float32)

    def back(self, xy: np.ndarray) -> np.ndarray:
        """Map points (N, 2) of the new image back into the old one."""
        return ((xy + np.array(self.corner[::-1])) / self._scale[::-1]).astype(np.float32)


def place(shape: Size, *, size: Size, resize: str = "crop", crop_pct: float = 1.0) -> Placement:
    """Decide how an image of `shape` becomes one of `size`; sides are rounded as timm and torchvision do.

    crop: the image is resized to cover `size / crop_pct`, pad: to fit into it, stretch: to be it, changing
    its aspect. The centre of that is taken.
    """
    goal = (max(1, floor(size[0] / crop_pct)), max(1, floor(size[1] / crop_pct)))
    scaled = goal if resize == "stretch" else _keeping_aspect(shape, goal, covers=resize == "crop")
    return Placement(shape, scaled, (_middle(scaled[0], size[0]), _middle(scaled[1], size[1])), size)


def _keeping_aspect(shape: Size, goal: Size, *, covers: bool) -> Size:
    if covers and goal[0] == goal[1]:
        height, width = (
            goal[0] if side == min(shape) else int(goal[0] * side / min(shape)) for side in shape
        )
        return height, width
    ratios = shape[0] / goal[0], shape[1] / goal[1]
    ratio = min(ratios) if covers else max(ratios)
    return max(1, round(shape[0] / ratio)), max(1, round(shape[1] / ratio))


def _middle(whole: int, part: int) -> int:
    return round((whole - part) / 2) if whole >= part else -((part - whole) // 2)
