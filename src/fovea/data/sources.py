"""Share what data sets held in memory, and data sets of image files, have in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from fovea.types import Sample


def check_split(split: str, known: Sequence[str]) -> str:
    """Return the split, or raise ValueError naming the known ones."""
    if split not in known:
        raise ValueError(f"split={split!r} is unknown: choose one of {', '.join(known)}")
    return split


def check_labels(labels: np.ndarray, *, classes: int, path: Path) -> np.ndarray:
    """Return labels as int64 (N,), or raise ValueError naming the file with a label out of range."""
    labels = np.asarray(labels).astype(np.int64).reshape(-1)
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f"{path} holds labels {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
    return labels


class ArrayImages:
    """Images of one size, already in memory as uint8 (N, H, W, C)."""

    source: ClassVar[str] = "real"
    images: np.ndarray  # (N, H, W, C) uint8
    labels: np.ndarray | None
    classes: list[str]
    split: str

    @cached_property
    def ids(self) -> list[str]:
        """Name every image by its split and position."""
        return [f"{self.split}/{i:05d}" for i in range(len(self))]

    def __len__(self) -> int:
        return len(self.images)

    def load(self, index: int) -> Sample:
        """Return one image with its label."""
        sample: Sample = {"image": self.images[index]}
        if self.labels is not None:
            sample["label"] = int(self.labels[index])
        return sample


class FileImages:
    """Images in files, decoded one at a time."""

    source: ClassVar[str] = "real"
    paths: list[Path]
    ids: list[str]
    labels: np.ndarray
    classes: list[str]
    channels: int

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> Sample:
        """Decode one image (H, W, channels); ValueError names a file that is not an image."""
        from fovea.data.images import read_image

        image = read_image(self.paths[index], channels=self.channels)
        return {"image": image, "label": int(self.labels[index])}
