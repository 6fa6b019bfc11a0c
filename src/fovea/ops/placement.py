"""Place an image in one of another size: cropped, padded or stretched."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

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
    whole = Placement(0, 0, height, width, size, (0, 0), size)
    if resize == "stretch" or shape == size:
        return whole
    if resize == "pad":
        scale = min(size[0] / height, size[1] / width)
        inner = (min(size[0], max(1, round(height * scale))), min(size[1], max(1, round(width * scale))))
        return whole._replace(inner=inner, offset=((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    scale = max(size[0] / height, size[1] / width) / crop_pct
    crop_h, crop_w = (max(1, min(have, round(want / scale))) for have, want in zip(shape, size, strict=True))
    top, left = round((height - crop_h) / 2), round((width - crop_w) / 2)
    return whole._replace(top=top, left=left, height=crop_h, width=crop_w)
