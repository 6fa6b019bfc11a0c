"""Show parts of data sets as training, validation and test sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np

from fovea.data.splits import stratified_split
from fovea.types import ImageDataset, Sample


class View:
    """Show some images of a data set as a data set of its own."""

    def __init__(self, dataset: ImageDataset, indices: np.ndarray) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)
        self.classes = dataset.classes
        self.labels = None if dataset.labels is None else dataset.labels[self.indices]

    @cached_property
    def ids(self) -> list[str]:
        """The names of the images."""
        return [self.dataset.ids[i] for i in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def load(self, index: int) -> Sample:
        """Return one sample, counted within the view."""
        return self.dataset.load(int(self.indices[index]))

    @property
    def images(self) -> np.ndarray | None:
        """The images (N, H, W, C) where the data set holds them in memory, else None."""
        images = getattr(self.dataset, "images", None)
        return None if images is None else images[self.indices]


def build_views(
    factory: Callable[..., ImageDataset], *, fractions: Mapping[str, float], seed: int
) -> dict[str, View]:
    """Load every official split and take the lacking ones of `fractions` from the training images."""
    owner: Any = getattr(factory, "func", factory)
    options = dict(getattr(factory, "keywords", {}))
    splits = owner.find_splits(**options) if hasattr(owner, "find_splits") else owner.splits
    make = (
        partial(factory, download=False) if "download" in options else factory
    )  # prepare_data has done that
    whole = {name: make(split=name) for name in splits}
    views = {name: View(data, np.arange(len(data))) for name, data in whole.items() if name != "all"}
    lacking = {name: value for name, value in fractions.items() if name not in whole}
    if not lacking:
        return views
    base = whole["train"] if "train" in whole else whole["all"]
    plain = base.labels is None
    labels = np.zeros(len(base), dtype=np.int64) if base.labels is None else base.labels
    names = ["image"] if plain else base.classes
    parts = stratified_split(labels, fractions=lacking, seed=seed, classes=names)
    return views | {name: View(base, indices) for name, indices in parts.items()}


def check_classes(train: View, *, num_classes: int, name: str) -> None:
    """Raise ValueError where the config counts other classes, or the training images lack one."""
    if train.labels is None:
        return
    have = len(train.classes)
    if num_classes != have:
        raise ValueError(
            f"data.num_classes={num_classes} but {name} has {have} classes: set data.num_classes={have}"
        )
    counts = np.bincount(train.labels, minlength=have)
    if not counts.all():
        empty = [train.classes[i] for i in np.flatnonzero(counts == 0)]
        raise ValueError(f"no training image of class {', '.join(empty)}: add some or remove the class")


def check_batch_size(train: View, *, batch_size: int, name: str) -> None:
    """Raise ValueError where the training images do not fill one batch."""
    size = len(train)
    if batch_size > size:
        raise ValueError(
            f"data.batch_size={batch_size} is more than the {size} training images of {name}: "
            f"set data.batch_size={1 << (size.bit_length() - 1)} or lower"
        )
