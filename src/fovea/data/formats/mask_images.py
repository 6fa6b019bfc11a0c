"""Base class of data sets with one mask file for each image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fovea.data.formats.masks import read_mask
from fovea.data.packed import Paths
from fovea.data.sources import PublishedImages, check_same_size
from fovea.types import Sample


class MaskImages(PublishedImages):
    """Images in `paths`, the mask of each in `masks`; a subclass says what its pixels mean."""

    targets: tuple[str, ...] = ("mask",)
    labels: np.ndarray | None = None
    masks: Paths
    colours: np.ndarray | None = None  # (K, 3) uint8, where masks are coded by colour
    values: Mapping[int, int] | None = None  # what a number (or row of `colours`) in a mask stands for
    palette: np.ndarray | None = None  # (classes, 3) uint8, how to draw the classes

    def files(self, index: int) -> dict[str, Path]:
        """Return the image and its mask."""
        return {"image": self.paths[index], "mask": self.masks[index]}

    def annotate(self, index: int, image: np.ndarray) -> Sample:
        """Return the mask (H, W)."""
        path = self.masks[index]
        mask = read_mask(path, num_classes=len(self.classes), colours=self.colours, values=self.values)
        return {"mask": check_same_size(image, mask, path=path)}
