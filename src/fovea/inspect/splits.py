"""Open what can be opened of a data set, split by split."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fovea.inspect.files import images_below
from fovea.inspect.findings import Finding
from fovea.types import Sample


@dataclass
class Part:
    """One split: `indices` (N,) of a data set."""

    split: str
    dataset: Any
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def at(self, index: int) -> int:
        """Return the place in the data set of an image counted within the part."""
        return int(self.indices[index])

    def name(self, index: int) -> str:
        """Name an image."""
        return str(self.dataset.ids[self.at(index)])

    def files(self, index: int) -> dict[str, Path]:
        """Return the files of an image by role; none for images held in memory."""
        files = getattr(self.dataset, "files", None)
        return {} if files is None else files(self.at(index))

    def load(self, index: int) -> Sample:
        """Read one sample."""
        return self.dataset.load(self.at(index))

    @property
    def labels(self) -> np.ndarray | None:
        """The image classes (N,), where there are any."""
        return None if self.dataset.labels is None else np.asarray(self.dataset.labels)[self.indices]

    @property
    def mask_classes(self) -> list[str]:
        """The names of the mask values; most often those of the classes."""
        return list(getattr(self.dataset, "mask_classes", None) or self.dataset.classes)

    def limited(self, limit: int | None, *, seed: int) -> Part:
        """Return a part of at most `limit` images, a fixed choice by seed."""
        if limit is None or limit >= len(self):
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:limit])
        return Part(self.split, self.dataset, self.indices[chosen])


class LooseFiles:
    """Image files of a split that could not be opened: no labels, no annotations."""

    labels = None
    targets: tuple[str, ...] = ()

    def __init__(self, folder: Path, *, channels: int) -> None:
        self.paths, self.channels, self.classes = images_below(folder), channels, []  # type: ignore[var-annotated]
        self.ids = [path.relative_to(folder).as_posix() for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def files(self, index: int) -> dict[str, Path]:
        """Return the image file."""
        return {"image": self.paths[index]}

    def load(self, index: int) -> Sample:
        """Decode the image."""
        from fovea.data.images import read_image

        return {"image": read_image(self.paths[index], channels=self.channels)}


def open_each(factory: Callable[..., Any], *, channels: int, root: Path) -> tuple[list[Part], list[Finding]]:
    """Open every official split on its own, after opening all together failed.

    A split that fails is a finding, and the images below the folder that its error names stand in for it.
    Raises the first error where nothing can be found.
    """
    owner: Any = getattr(factory, "func", factory)
    options = dict(getattr(factory, "keywords", {}))
    names = owner.find_splits(**options) if hasattr(owner, "find_splits") else owner.splits
    quiet = {"download": False} if "download" in options else {}
    parts, findings, failed = [], [], []
    for name in names:
        try:
            dataset = factory(split=name, **quiet)
            parts.append(Part("train" if name == "all" else name, dataset, np.arange(len(dataset))))
        except Exception as error:  # whatever a data set raises is what this command is to report
            findings.append(Finding("cannot open", name, str(root), str(error).split("\n  ")[0]))
            failed.append(error)
    folders = {folder for error in failed if (folder := folder_of(str(error), root)) is not None}
    for folder in sorted(folders):
        loose = LooseFiles(folder, channels=channels)
        parts += [Part(f"{folder.name}/", loose, np.arange(len(loose)))] if len(loose) else []
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
