"""Turn files and uint8 batches into network inputs, the same way in training, evaluation and prediction."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fovea.data.geometry import fit_sample
from fovea.data.images import enough_for, read_image, to_channels
from fovea.ops.placement import INTERPOLATION, RESIZE, Placement, place
from fovea.types import IGNORE, Preprocessing, Sample

LARGEST_CROP = 2.0


class Preprocess:
    """Apply the preprocessing that a checkpoint carries."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self.size = (int(preprocessing["image_size"][0]), int(preprocessing["image_size"][1]))
        self.channels = int(preprocessing["channels"])
        self.interpolation = _known("interpolation", preprocessing["interpolation"], INTERPOLATION)
        self.resize = _known("resize", preprocessing.get("resize", "crop"), RESIZE)
        self.enough = enough_for(self.size, self.interpolation)
        self.crop_pct = float(preprocessing["crop_pct"])
        if self.channels not in (1, 3):
            raise ValueError(f"data.channels={self.channels} is not supported: choose 1 (grey) or 3 (RGB)")
        if not 0 < self.crop_pct <= LARGEST_CROP:
            raise ValueError(f"data.crop_pct={self.crop_pct} must be above 0 and at most {LARGEST_CROP}")
        mean, std = (self._per_channel(preprocessing[key], key) for key in ("mean", "std"))
        # (x / 255 - mean) / std as one multiplication and one addition
        self._scale = (1 / (255 * std)).float()
        self._shift = (-mean / std).float()
        # as in timm, the borders of resize=pad are the mean, and those that crop_pct > 1 leaves black
        self._fill = [round(255 * m) if self.resize == "pad" else 0 for m in preprocessing["mean"]]

    def _per_channel(self, values: list[float], key: str) -> Tensor:
        if len(values) != self.channels or (key == "std" and min(values) <= 0):
            raise ValueError(f"data.{key}={list(values)} must be {self.channels} numbers, a std above 0")
        return torch.tensor(list(values), dtype=torch.float64).view(1, -1, 1, 1)

    def to_array(self, image: str | Path | np.ndarray) -> np.ndarray:
        """Read (or take) one image and resize it to the input size: uint8 (H, W, channels)."""
        array = image if isinstance(image, np.ndarray) else self._read(image)
        array = array[..., None] if array.ndim == 2 else array
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3):
            raise ValueError(f"expected a uint8 image (H, W, 1 or 3), got {array.dtype} {array.shape}")
        return self.fit({"image": to_channels(array, channels=self.channels)})["image"]

    def _read(self, path: str | Path) -> np.ndarray:
        return read_image(path, channels=self.channels, enough=self.enough)

    def fit(self, sample: Sample) -> Sample:
        """Bring an image with its annotations to the input size."""
        fill = self.fill(sample["image"].shape[2])
        return fit_sample(
            sample,
            size=self.size,
            interpolation=self.interpolation,
            crop_pct=self.crop_pct,
            resize=self.resize,
            fill=fill,
        )

    def leaves(self, shape: tuple[int, int]) -> bool:
        """Return whether images of this height and width stay as they are."""
        return shape == self.size and self.crop_pct == 1

    def finish(self, sample: Sample) -> Sample:
        """Bring an augmented image to the input size, unless its augmentation has done so."""
        return sample if sample["image"].shape[:2] == self.size else self.fit(sample)

    def fill(self, channels: int) -> list[int]:
        """Return the colour of borders of an image."""
        return (
            self._fill if channels == self.channels else [round(sum(self._fill) / self.channels)] * channels
        )

    def fit_mask(self, mask: np.ndarray) -> np.ndarray:
        """Bring a class map (H, W) to the input size, as `fit` does; borders are 255, ignored."""
        return self.placement(mask.shape[:2]).raster(mask, fill=IGNORE)

    def placement(self, shape: tuple[int, int]) -> Placement:
        """Return where an image of this height and width lies in the input."""
        return place(shape, size=self.size, resize=self.resize, crop_pct=self.crop_pct)

    def to_input(self, images: Tensor) -> Tensor:
        """Normalise images (B, 1 or 3, H, W) with values 0…255 to float (B, channels, H, W)."""
        images = match_channels(images, channels=self.channels)
        if self._scale.device != images.device:
            self._scale, self._shift = self._scale.to(images.device), self._shift.to(images.device)
        return images.contiguous().float().mul(self._scale).add_(self._shift)

    def __call__(self, image: str | Path | np.ndarray) -> Tensor:
        """Turn one file or array into an input (1, channels, H, W)."""
        array = np.ascontiguousarray(self.to_array(image))
        return self.to_input(torch.from_numpy(array).permute(2, 0, 1)[None])


def match_channels(images: Tensor, *, channels: int) -> Tensor:
    """Convert (B, C, H, W) between grey and RGB; on uint8 exactly as OpenCV's BT.601 luma."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    return luma(images)


def luma(images: Tensor) -> Tensor:
    """Return the brightness (B, 1, H, W) of grey or RGB images, weighted as in BT.601."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    if images.dtype == torch.uint8:
        luma = (red.int() * 9798 + green.int() * 19235 + blue.int() * 3735 + 16384) >> 15
        return luma.to(torch.uint8)[:, None]
    return (red * 0.299 + green * 0.587 + blue * 0.114)[:, None]


def _known(key: str, value: str, names: Collection[str]) -> str:
    if value not in names:
        raise ValueError(f"data.{key}={value!r} is unknown: choose one of {', '.join(names)}")
    return value
