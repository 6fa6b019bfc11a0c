"""Find what is predicted: image files with their true classes, or a split of the data of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fovea.data import ground_truth
from fovea.errors import UsageError
from fovea.page.formats import counted
from fovea.page.label import to_rgb

if TYPE_CHECKING:
    from fovea.data.module import DataModule

SPLITS = ("train", "val", "test")


class Inputs(NamedTuple):
    """Images by number: their names, true classes (None: unknown), and `read`, uint8 (H, W, 3)."""

    names: Sequence[str]
    places: Sequence[str]  # below the folder that was asked for
    ids: Sequence[int] | None  # in the JSON files of the data, where those number images
    truth: Sequence[int | None]
    read: Callable[[int], np.ndarray]
    trained: int  # how many of them trained the run


def of_files(
    paths: Sequence[Path],
    classes: Sequence[str],
    *,
    top: Path,
    table: str | None,
    training: Training,
    enough: int | None,
) -> Inputs:
    """Return image files; the true class comes from the table, else from the names of folders up to `top`.

    `enough` is the shorter side at which a photo may be decoded, None for all its pixels.
    """
    if table is not None:
        known = ground_truth.from_table(Path(table), paths, classes)
    else:
        known = ground_truth.from_folders(paths, classes, top=top)

    def read(number: int) -> np.ndarray:
        from fovea.data.images import read_image

        return read_image(paths[number], channels=3, enough=enough)

    trained = sum(training.holds(path) for path in paths)
    below = [top.is_dir() and top in path.parents for path in paths]
    places = [
        str(path.relative_to(top)) if inside else path.name for path, inside in zip(paths, below, strict=True)
    ]
    names = [str(path) for path in paths]
    return Inputs(names, places, None, [known[path] for path in paths], read, trained)


def of_split(module: DataModule, split: str) -> Inputs:
    """Return the images of a split of a run's data, without augmentation."""
    subset = module.splits[split]
    if not len(subset):
        raise UsageError(f"the run's data has no {split} split")
    flat = subset.labels is not None and np.ndim(subset.labels) == 1
    truth = subset.labels.tolist() if flat else [None] * len(subset)  # type: ignore[union-attr]
    trained = len(subset) if split == "train" else 0
    ids = getattr(subset.dataset, "image_ids", None)
    chosen = None if ids is None else ids[subset.indices].tolist()
    return Inputs(
        subset.ids, subset.ids, chosen, truth, lambda number: to_rgb(subset.load(number)["image"]), trained
    )


class Training:
    """The files that trained a run: by the names that its checkpoint records, below the root of its data."""

    def __init__(self, names: Sequence[str], root: str | None) -> None:
        self._ends = {tuple(Path(name).parts) for name in names if name} if root else set()
        self._lengths = sorted({len(parts) for parts in self._ends})
        self._root = Path(root or ".").resolve()

    def holds(self, path: Path) -> bool:
        """Whether this file is one of them."""
        place = path.resolve()
        if not self._ends or self._root not in place.parents:
            return False
        named = (place.parts, place.with_suffix("").parts)  # some data sets name images without a suffix
        return any(parts[-length:] in self._ends for parts in named for length in self._lengths)


def about_training(inputs: Inputs) -> str | None:
    """Say how many of the images trained the run; None where it is none."""
    if not inputs.trained:
        return None
    return (
        f"{inputs.trained:,} of {counted(len(inputs.names), 'image')} trained this run: "
        "what it answers to these says nothing about new images"
    )
