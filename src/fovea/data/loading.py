"""Serve whole batches to a DataLoader, from memory or from files."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fovea.data.sampling import Item
from fovea.data.transforms import SampleTransform
from fovea.data.views import View
from fovea.types import Batch

log = logging.getLogger(__name__)
Finish = Callable[[np.ndarray], np.ndarray]  # (H, W, C) uint8 → the input size


def _indices(items: list[Item]) -> Tensor:
    return torch.from_numpy(np.array([index for _, index in items], dtype=np.int64))


class TensorBatches(Dataset[Batch]):
    """Take batches out of one tensor: no Python per image."""

    def __init__(self, images: Tensor, labels: np.ndarray | None) -> None:
        self.images = images  # (N, C, H, W) uint8
        self.labels = None if labels is None else torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, items: list[Item]) -> Batch:
        """Return the batch of these (epoch, index) pairs."""
        index = _indices(items)
        # index_select copies whole images, where plain indexing goes element by element
        batch: Batch = {"image": self.images.index_select(0, index), "index": index, "epoch": items[0][0]}
        if self.labels is not None:
            batch["label"] = self.labels.index_select(0, index)
        return batch


class SampleBatches(Dataset[Batch]):
    """Decode (unless given decoded images), augment and fit images one by one."""

    def __init__(
        self,
        view: View,
        *,
        finish: Finish,
        transform: SampleTransform | None = None,
        images: Sequence[np.ndarray] | np.ndarray | None = None,
    ) -> None:
        self.view, self.finish, self.transform, self.images = view, finish, transform, images

    def __len__(self) -> int:
        return len(self.view)

    def __getitems__(self, items: list[Item]) -> Batch:
        """Return the batch of these (epoch, index) pairs."""
        images = np.stack([self._image(epoch, index) for epoch, index in items])  # (B, H, W, C)
        index = _indices(items)
        image = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        batch: Batch = {"image": image, "index": index, "epoch": items[0][0]}
        if self.view.labels is not None:
            batch["label"] = torch.from_numpy(self.view.labels)[index]
        return batch

    def _image(self, epoch: int, index: int) -> np.ndarray:
        image = self.view.load(index)["image"] if self.images is None else self.images[index]
        if self.transform is not None:
            image = self.transform(image, epoch=epoch, index=index)
        return self.finish(image)


def in_memory(view: View, *, finish: Finish, size: tuple[int, int], cache: bool | str) -> Tensor | None:
    """Decode a view to one uint8 tensor (N, C, *size), or return None where it would not fit."""
    images = view.images
    if images is not None and images.shape[1:3] == size:
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    first = finish(view.load(0)["image"])
    if not fits(first.nbytes * len(view), cache=cache):
        return None
    out = np.empty((len(view), first.shape[2], *size), dtype=np.uint8)

    def decode(index: int) -> None:
        out[index] = finish(view.load(index)["image"]).transpose(2, 0, 1)

    _threaded(decode, len(view))
    return torch.from_numpy(out)


def decoded(view: View, *, cache: bool | str) -> Sequence[np.ndarray] | np.ndarray | None:
    """Decode a view without resizing, or return None where it would not fit."""
    if view.images is not None:
        return view.images
    probe = [view.load(i)["image"].nbytes for i in np.linspace(0, len(view) - 1, 16).astype(int)]
    if not fits(int(np.mean(probe) * len(view)), cache=cache):
        return None
    out: list[np.ndarray] = [np.empty(0)] * len(view)

    def decode(index: int) -> None:
        out[index] = view.load(index)["image"]

    _threaded(decode, len(view))
    return out


def _threaded(work: Callable[[int], None], count: int) -> None:
    one_thread_each()
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(work, range(count), chunksize=16):
            pass


def fits(needed: int, *, cache: bool | str) -> bool:
    """Tell whether to keep this many bytes: `cache` decides; "auto": up to a quarter of the free memory."""
    if isinstance(cache, bool):
        return cache
    if cache != "auto":
        raise ValueError(f"data.cache={cache!r} must be auto, true or false")
    return needed < available_memory() / 4


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


def one_thread_each(worker: int = 0) -> None:
    """Keep OpenCV from starting threads inside our own threads and worker processes."""
    cv2.setNumThreads(0)


def identity(batch: Any) -> Any:
    """Stand in for collation: the data sets return whole batches."""
    return batch


def build_loader(
    data: TensorBatches | SampleBatches, *, batches: Sampler[list[Item]], workers: int | str, pin: bool
) -> DataLoader[Batch]:
    """Build the loader; `auto` workers are none for tensors, else one per core up to 8."""
    if workers == "auto":
        workers = 0 if isinstance(data, TensorBatches) else min(cores(), 8)
    if not isinstance(workers, int) or workers < 0:
        raise ValueError(f"data.num_workers={workers!r} must be auto or a number from 0")
    return DataLoader(
        data,
        batch_sampler=batches,
        collate_fn=identity,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin,
        worker_init_fn=one_thread_each,
    )
