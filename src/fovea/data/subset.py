"""Subsets of data sets: the training, validation and test images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fovea.data.packed import Strings
from fovea.types import ImageDataset, Sample


class Subset:
    """Some images of a data set as a data set of their own."""

    def __init__(
        self,
        dataset: ImageDataset,
        indices: np.ndarray,
        *,
        wanted: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.dataset, self.wanted = dataset, wanted
        self.indices = np.asarray(indices, dtype=np.int64)
        self.classes = dataset.classes if classes is None else list(classes)
        self._numbers = None if classes is None else _numbers(dataset.classes, classes)
        self.labels = None if dataset.labels is None else self._numbered(dataset.labels[self.indices])
        self.endless = bool(getattr(dataset, "endless", False))

    @cached_property
    def ids(self) -> list[str]:
        """The names of the images."""
        return [self.name(i) for i in range(len(self))]

    def name(self, index: int) -> str:
        """Return the name of one image."""
        return self.dataset.ids[int(self.indices[index])]

    @property
    def targets(self) -> tuple[str, ...]:
        """What `load` gives beside the image."""
        have = tuple(getattr(self.dataset, "targets", ("label",)))
        if "boxes" in have and "ignore" not in have:
            have = (*have, "ignore")
        return have if self.wanted is None else tuple(key for key in have if key in self.wanted)

    def __len__(self) -> int:
        return len(self.indices)

    def load(self, index: int, epoch: int = 0) -> Sample:
        """Return one sample, counted within the subset; an endless data set gives a new one every epoch."""
        sample = self._chosen(self.dataset.load(int(self.indices[index]) + self._shift(epoch)))
        if "label" in sample:
            sample["label"] = int(self._numbered(np.asarray(sample["label"])))
        if "boxes" in sample and "ignore" not in sample:
            sample["ignore"] = np.zeros(len(sample["boxes"]), dtype=bool)
        return sample

    def reduce(self, side: int | None) -> None:
        """Have large photos decoded no larger than a shorter side needs, where the data set can."""
        if hasattr(self.dataset, "reduce"):
            self.dataset.reduce(side)

    def load_many(self, indices: Sequence[int] | np.ndarray, epoch: int = 0) -> list[Sample] | None:
        """Return many samples where the data set makes them faster together, else None."""
        many = getattr(self.dataset, "load_many", None)
        if many is None:
            return None
        columns = self._chosen(many(self.indices[np.asarray(indices)] + self._shift(epoch)))
        if "label" in columns:
            columns["label"] = self._numbered(np.asarray(columns["label"]))
        rows = range(len(indices))
        return [{key: column[row] for key, column in columns.items()} for row in rows]  # type: ignore[misc]

    def _shift(self, epoch: int) -> int:
        return epoch * len(self.dataset) if self.endless else 0

    def _chosen(self, entries: Any) -> Any:
        if self.wanted is None:
            return entries
        return {key: value for key, value in entries.items() if key == "image" or key in self.wanted}

    @property
    def holds_images(self) -> bool:
        """Whether the data set holds its images in memory."""
        return getattr(self.dataset, "images", None) is not None

    @property
    def images(self) -> np.ndarray | None:
        """The images (N, H, W, C) where the data set holds them in memory, else None."""
        images = getattr(self.dataset, "images", None)
        return None if images is None else images[self.indices]

    def take(self, chosen: np.ndarray) -> Subset:
        """Return a subset of some of these images."""
        return self.replaced(self.indices[chosen])

    def replaced(self, indices: np.ndarray) -> Subset:
        """Return a subset of other images of the data set, without those of classes that have no number."""
        classes = None if self._numbers is None else self.classes
        found = Subset(self.dataset, indices, wanted=self.wanted, classes=classes)
        if found.labels is None or self._numbers is None or not (found.labels < 0).any():
            return found
        return Subset(self.dataset, indices[found.labels >= 0], wanted=self.wanted, classes=classes)

    def as_classes(self, classes: Sequence[str]) -> Subset:
        """Number the labels by the names of `classes`, and leave out images of other classes."""
        found = Subset(self.dataset, self.indices, wanted=self.wanted, classes=classes)
        return found.replaced(self.indices)

    def _numbered(self, labels: np.ndarray) -> np.ndarray:
        return labels if self._numbers is None else self._numbers[labels]


def _numbers(names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return the position among `classes` of each name (K,), -1 where it is none of them."""
    place = {name: number for number, name in enumerate(classes)}
    return np.array([place.get(name, -1) for name in names], dtype=np.int64)


class Joined:
    """Subsets of several data sets with the same classes, joined."""

    def __init__(self, subsets: Sequence[Subset]) -> None:
        self.subsets = list(subsets)
        self.classes = subsets[0].classes
        self.targets = subsets[0].targets
        self.source = getattr(subsets[0].dataset, "source", "real")
        self.left_out = [line for s in subsets for line in getattr(s.dataset, "left_out", ())]
        self.starts = np.cumsum([0, *(len(subset) for subset in subsets)])
        known = [subset.labels for subset in subsets if subset.labels is not None]
        self.labels = np.concatenate(known) if len(known) == len(subsets) else None
        self.ids: Sequence[str] = Strings(name for subset in subsets for name in subset.ids)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def load(self, index: int) -> Sample:
        """Return one sample."""
        subset, within = self._locate(index)
        return subset.load(within)

    def reduce(self, side: int | None) -> None:
        """Have large photos decoded no larger than a shorter side needs."""
        for subset in self.subsets:
            subset.reduce(side)

    def sentences(self, index: int) -> list[str]:
        """Return the captions of one image."""
        subset, within = self._locate(index)
        return subset.dataset.sentences(int(subset.indices[within]))  # type: ignore[attr-defined]

    def _locate(self, index: int) -> tuple[Subset, int]:
        part = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.subsets[part], index - int(self.starts[part])
