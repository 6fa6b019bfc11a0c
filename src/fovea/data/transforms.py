"""Bring images to the input size, and run per-image augmentations reproducibly."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np

from fovea.ops import rng

os.environ.setdefault(
    "NO_ALBUMENTATIONS_UPDATE", "1"
)  # albumentations asks a server for its version on import

INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
    "area": cv2.INTER_AREA,
}
_STREAM = 102


def fit(image: np.ndarray, *, size: tuple[int, int], interpolation: str, crop_pct: float = 1.0) -> np.ndarray:
    """Cut the centred part with the aspect of `size`, `crop_pct` of what fits, and resize it to `size`.

    image (H, W, C) uint8 → (*size, C). An image that already has this size is returned as it is. Shrinking
    averages areas, whatever the interpolation, so that it does not alias.
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    scale = max(size[0] / height, size[1] / width) / crop_pct
    crop_h, crop_w = (
        max(1, min(have, round(want / scale))) for have, want in zip((height, width), size, strict=True)
    )
    top, left = round((height - crop_h) / 2), round((width - crop_w) / 2)
    crop = image[top : top + crop_h, left : left + crop_w]
    flag = cv2.INTER_AREA if scale < 1 else INTERPOLATION[interpolation]
    resized = cv2.resize(crop, size[::-1], interpolation=flag)
    return resized if resized.ndim == 3 else resized[..., None]


def check_interpolation(name: str) -> str:
    """Return the name, or raise ValueError listing the known ones."""
    if name not in INTERPOLATION:
        raise ValueError(f"interpolation={name!r} is unknown: choose one of {', '.join(INTERPOLATION)}")
    return name


class SampleTransform:
    """Augment single images with albumentations: a pure function of image, seed, epoch and index."""

    def __init__(self, transforms: Mapping[str, Any], *, seed: int) -> None:
        import albumentations as A

        active = [transform for transform in transforms.values() if transform is not None]
        _refuse_unknown_arguments(active)
        self.seed = seed
        self.compose = A.Compose(active)
        # One pair of generators for all transforms, reset for each image: seeding every transform on its
        # own costs twenty times as much.
        self._python = random.Random(0)
        self._numpy = np.random.Generator(np.random.PCG64(0))
        self.compose.set_random_state(self._numpy, self._python)
        self._state = self._numpy.bit_generator.state

    def __call__(self, image: np.ndarray, *, epoch: int, index: int) -> np.ndarray:
        """Return a new image (H', W', C) uint8."""
        low, high = rng.bits(self.seed, epoch, np.array([index]), n=2, stream=_STREAM)[0].tolist()
        self._python.seed(low)
        self._numpy.bit_generator.state = {
            **self._state,
            "state": {**self._state["state"], "state": high << 64 | low},
        }
        out = self.compose(image=image)["image"]
        return out if out.ndim == 3 else out[..., None]


def _refuse_unknown_arguments(transforms: Iterable[Any]) -> None:
    """Raise ValueError for arguments that albumentations would only warn about, in nested transforms too."""
    for transform in transforms:
        if unknown := getattr(transform, "invalid_args", None):
            raise ValueError(
                f"augment.sample: {type(transform).__name__} has no argument {', '.join(unknown)}"
            )
        _refuse_unknown_arguments(getattr(transform, "transforms", None) or ())
