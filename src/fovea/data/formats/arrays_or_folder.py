"""Base class of data sets that come as arrays or as class folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fovea.data.formats.listing import describe, list_classes, visible_folders
from fovea.data.formats.npy import read_images, read_labels
from fovea.data.packed import Paths, Strings
from fovea.data.sources import PublishedImages, check_labels
from fovea.types import Sample


class ArraysOrFolder(PublishedImages):
    """Images in `x_{split}.npy` with labels in `y_{split}.npy`, or in `{split}/<class>/…`.

    Arrays stay on disk and are mapped into memory; `channels` matters to files only.
    """

    images: np.ndarray | None = None  # (N, H, W, C) uint8, None where they are files
    labels: np.ndarray
    split: str

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> Sample:
        """Return one image with its label."""
        if self.images is None:
            return super().load(index)
        return {"image": np.array(self.images[index]), "label": int(self.labels[index])}

    def files(self, index: int) -> dict[str, Path]:
        """Return the image file; nothing where all images are in one array."""
        return super().files(index) if self.images is None else {}

    def use_arrays(self, folder: Path, *, first: int = 0) -> None:
        """Take images and labels from the arrays of the split; class 0 has the number `first` there."""
        path, count = folder / f"y_{self.split}.npy", len(self.classes)
        self.images = read_images(folder / f"x_{self.split}.npy")
        numbers = read_labels(path, classes=count)
        if len(numbers) != len(self.images):
            raise ValueError(f"{path} has {len(numbers)} labels for {len(self.images)} images")
        self.labels = check_labels(numbers - first, classes=count, path=path)
        self.ids = Strings(f"{self.split}/{i:05d}" for i in range(len(numbers)))

    def use_folder(self, folder: Path) -> None:
        """Take images from the class folders of the split."""
        found = visible_folders(folder / self.split)
        unknown = sorted(set(found) - set(self.classes))
        if unknown or not found:
            raise ValueError(
                f"{folder / self.split} holds {describe(folder / self.split)}; expected folders named as the "
                f"classes: {', '.join(self.classes[:5])}{', …' if len(self.classes) > 5 else ''}"
            )
        names, self.labels, _ = list_classes(found, self.classes, root=folder)
        self.ids, self.paths = Strings(names), Paths(folder, names)


def find_layout(folder: Path, telltales: Mapping[str, str]) -> str | None:
    """Return the layout whose telltale entry a folder has, None for none; ValueError where it has several."""
    found = [layout for layout, entry in telltales.items() if (folder / entry).exists()]
    if len(found) > 1:
        entries = " and ".join(telltales[layout] for layout in found)
        raise ValueError(f"{folder} holds {entries}, two forms of the same images: keep one of them")
    return found[0] if found else None


def absent(folder: Path, entries: Sequence[str]) -> list[Path]:
    """Return the entries that a folder lacks."""
    return [folder / entry for entry in entries if not (folder / entry).exists()]
