"""Keep decoded samples in memory, in few arrays that worker processes share."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fovea.data.packed import Dense, Ragged, Rasters, Strings
from fovea.data.subset import Subset
from fovea.types import Sample

RASTERS = ("image", "mask", "instances", "keypoints")  # of one shape wherever images are
FLATTENED: dict[str, tuple[tuple[int, ...], type]] = {
    "boxes": ((4,), np.float32),
    "labels": ((), np.int64),
    "ignore": ((), np.bool_),
}
Fit = Callable[[Sample], Sample]


class Unreadable(ValueError):
    """A sample cannot be read; the message names it."""

    def __init__(self, message: str) -> None:
        if message.startswith("Caught "):  # a worker's error arrives as its whole traceback
            message = message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip()
        super().__init__(message)


class SampleCache:
    """All samples of a subset, each finished once; `bad` (N,) marks those that could not be read.

    With `dense` all images have one size and lie in one array.
    """

    def __init__(self, subset: Subset, *, fit: Fit | None, skip: bool, dense: bool = False) -> None:
        self.subset, self.fit, self.skip, self.dense = subset, fit, skip, dense
        self.bad = np.zeros(len(subset), dtype=bool)
        self.rasters: dict[str, Rasters | Dense] = {}
        flattened: dict[str, list[np.ndarray]] = {}
        captions: list[list[str]] = []
        for start in range(0, len(subset), Rasters.BLOCK):
            samples = self._decode(range(start, min(start + Rasters.BLOCK, len(subset))))
            self._append(samples, flattened, captions)
        self.flattened = {
            key: Ragged(arrays, shape=FLATTENED[key][0], dtype=FLATTENED[key][1])
            for key, arrays in flattened.items()
        }
        self._captions = Strings(text for texts in captions for text in texts)
        self._caption_at = np.cumsum([0, *(len(texts) for texts in captions)]) if captions else None

    def __len__(self) -> int:
        return len(self.subset)

    def __getitem__(self, index: int) -> Sample:
        sample: dict[str, Any] = {key: rasters[index] for key, rasters in self.rasters.items()}
        sample |= {key: arrays[index] for key, arrays in self.flattened.items()}
        if self.subset.labels is not None and "label" in self.subset.targets:
            sample["label"] = int(self.subset.labels[index])
        if self._caption_at is not None:
            sample["captions"] = self.captions(index)
        return sample  # type: ignore[return-value]

    @property
    def has_captions(self) -> bool:
        """Whether the samples have captions."""
        return self._caption_at is not None

    def captions(self, index: int) -> list[str]:
        """Return the captions of one sample."""
        assert self._caption_at is not None
        return self._captions[int(self._caption_at[index]) : int(self._caption_at[index + 1])]

    def _decode(self, indices: range) -> list[Sample | None]:
        many = self.subset.load_many(indices)
        if many is not None:
            return [self.fit(sample) if self.fit else sample for sample in many]
        one_thread_each()
        with ThreadPoolExecutor(cores()) as pool:
            return list(pool.map(self._one, indices, chunksize=8))

    def _one(self, index: int) -> Sample | None:
        try:
            sample = load(self.subset, index)
        except (OSError, ValueError):
            if not self.skip:
                raise
            self.bad[index] = True
            return None
        return self.fit(sample) if self.fit else sample

    def _append(
        self, samples: list[Any], flattened: dict[str, list[np.ndarray]], captions: list[list[str]]
    ) -> None:
        good = next((sample for sample in samples if sample is not None), None)
        if good is None:
            raise ValueError(f"none of {len(samples)} images of {self.subset.name(0)} … can be read")
        for key in RASTERS:
            if key in good:
                empty = np.zeros([0] * good[key].ndim, dtype=good[key].dtype)
                arrays = [empty if sample is None else sample[key] for sample in samples]
                if key not in self.rasters:
                    self.rasters[key] = Dense(len(self), good[key]) if self.dense else Rasters()
                self.rasters[key].extend(arrays)
        for key, (shape, dtype) in FLATTENED.items():
            if key in good:
                none: np.ndarray = np.zeros((0, *shape), dtype=dtype)
                arrays = flattened.setdefault(key, [])
                arrays += [none if sample is None else sample[key] for sample in samples]
        if "captions" in good:
            captions += [[] if sample is None else sample["captions"] for sample in samples]


def load(subset: Subset, index: int, epoch: int = 0) -> Sample:
    """Return one sample; Unreadable names it and says what may be done."""
    try:
        return subset.load(index, epoch)
    except (OSError, ValueError) as error:
        name = subset.name(index)
        text = str(error) if Path(name).name in str(error) else f"{name}: {error}"
        raise Unreadable(f"{text} (data.on_error=skip leaves damaged images out)") from error


def fits(needed: int, *, cache: bool | str) -> bool:
    """Return whether to cache this many bytes; `cache` "auto": up to a quarter of the free memory.

    ValueError where all is to be cached and there is no room for it: the system would end the process.
    """
    if cache is True and needed > (free := available_memory()):
        raise ValueError(
            f"data.cache=true needs about {needed / 1e9:.1f} GB for the decoded images of a split, and "
            f"{free / 1e9:.1f} GB are free: set data.cache=auto, which keeps what fits, or data.cache=false"
        )
    if isinstance(cache, bool):
        return cache
    if cache != "auto":
        raise ValueError(f"data.cache={cache!r} must be auto, true or false")
    return needed < available_memory() / 4


def size_of(subset: Subset, *, fit: Fit | None) -> int:
    """Estimate the bytes that a subset takes in memory, from a few samples spread over it."""
    probe = []
    for index in np.linspace(0, len(subset) - 1, 16).astype(int):
        try:
            sample = subset.load(int(index))
        except (OSError, ValueError):  # whoever needs this sample says so
            continue
        sample = fit(sample) if fit else sample
        probe.append(sum(sample[key].nbytes for key in RASTERS if key in sample))  # type: ignore[literal-required]
    return int(np.mean(probe) * len(subset)) if probe else 0


def available_memory() -> int:
    """Return the free bytes, heeding the limit of a container."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text() for name in ("memory.max", "memory.current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no such limit
        return free


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_thread_each() -> None:
    """Keep OpenCV from starting threads inside our own threads and worker processes."""
    cv2.setNumThreads(0)
