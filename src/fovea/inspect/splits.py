"""Open a data set split by split, as far as it can be opened."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fovea.data.sources import FileImages
from fovea.data.splits import official_splits
from fovea.data.subset import Subset
from fovea.inspect.files import images_below
from fovea.inspect.findings import Finding


class SplitPart(Subset):
    """Some images of a split, with all annotations that the data set has."""

    def __init__(self, split: str, dataset: Any, indices: np.ndarray) -> None:
        super().__init__(dataset, indices)
        self.split = split

    def files(self, index: int) -> dict[str, Path]:
        """Return the files of an image by role; none for images held in memory."""
        files = getattr(self.dataset, "files", None)
        return {} if files is None else files(int(self.indices[index]))

    def raw_boxes(self, index: int) -> np.ndarray | None:
        """Return the boxes (N, 4) as the file says, where the data set tells and they can be read."""
        read = getattr(self.dataset, "raw_boxes", None)
        try:
            return None if read is None else read(int(self.indices[index]))
        except (OSError, ValueError):  # a damaged annotation, which loading reports
            return None

    def stated_size(self, index: int) -> tuple[int, int] | None:
        """Return the width and height that the annotation of an image states, where it does."""
        read = getattr(self.dataset, "stated_size", None)
        return None if read is None else read(int(self.indices[index]))

    @property
    def mask_classes(self) -> list[str]:
        """The names of the mask values; most often those of the classes."""
        return list(getattr(self.dataset, "mask_classes", None) or self.classes)

    def limited(self, limit: int | None, *, seed: int) -> SplitPart:
        """Return a part of at most `limit` images, a fixed choice by seed."""
        if limit is None or limit >= len(self):
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:limit])
        return SplitPart(self.split, self.dataset, self.indices[chosen])


class UnlabelledImages(FileImages):
    """Image files of a split that could not be opened: no labels, no annotations."""

    labels = None
    targets: tuple[str, ...] = ()

    def __init__(self, folder: Path, *, channels: int) -> None:
        self.paths, self.channels, self.classes = images_below(folder), channels, []
        self.ids = [path.relative_to(folder).as_posix() for path in self.paths]


def open_each(
    factory: Callable[..., Any], *, channels: int, root: Path
) -> tuple[list[SplitPart], list[Finding]]:
    """Open every official split on its own, after opening all together failed.

    A split that fails is a finding, and the images below the folder that its error names stand in for it.
    Raises the first error where nothing can be found.
    """
    parts, findings, failed = [], [], []
    for name, open_split in official_splits(factory).items():
        try:
            dataset = open_split()
            parts.append(SplitPart("train" if name == "all" else name, dataset, np.arange(len(dataset))))
        except Exception as error:  # whatever a data set raises is what this command is to report
            lines = getattr(error, "lines", [str(error).split("\n  ")[0]])
            findings += [Finding("cannot open", name, str(root), line) for line in lines]
            failed.append(error)
    folders = {folder for error in failed if (folder := folder_of(str(error), root)) is not None}
    for folder in sorted(folders):
        loose = UnlabelledImages(folder, channels=channels)
        parts += [SplitPart(f"{folder.name}/", loose, np.arange(len(loose)))] if len(loose) else []
    if failed and not parts:
        raise failed[0]
    return parts, findings


def folder_of(message: str, root: Path) -> Path | None:
    """Return the folder below `root` that an error is about: the nearest that exists of a path it names."""
    for named in re.findall(re.escape(str(root)) + r"/[^\n:;,'\"]*", message):
        path = Path(named.rstrip(". "))
        while not path.is_dir():
            path = path.parent
        if path != root and root in path.parents:
            return path
    return None
