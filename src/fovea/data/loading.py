"""Load whole batches: out of finished tensors, a cache of decoded samples, or files."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.queues import Queue
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fovea.data.cache import Fit, SampleCache, cores, fits, load, one_thread_each, size_of
from fovea.data.collate import Encode, captions, collate
from fovea.data.preprocess import Preprocess
from fovea.data.sampling import Item
from fovea.data.subset import Subset
from fovea.data.transforms import SampleTransform
from fovea.errors import is_shared_memory
from fovea.types import Batch, Sample


class TensorBatches(Dataset[Batch]):
    """Take batches out of finished samples in memory: no Python per image."""

    def __init__(
        self,
        tensors: dict[str, Tensor],
        cache: SampleCache | None = None,
        *,
        training: bool = False,
        encode: Encode | None = None,
        seed: int = 0,
    ) -> None:
        self.tensors = tensors  # image (N, C, H, W) uint8, label, mask, …
        self.cache, self.training, self.encode, self.seed = cache, training, encode, seed
        self.bad = None if cache is None or not cache.bad.any() else cache.bad

    @property
    def images(self) -> Tensor:
        """All images (N, C, H, W) uint8."""
        return self.tensors["image"]

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, items: list[Item]) -> Batch:
        """Return the batch of these (epoch, index) pairs."""
        items, skipped = self._usable(items)
        index, epoch = _indices(items), items[0][0]
        # index_select copies whole images, where plain indexing goes element by element
        batch: dict[str, Any] = {key: value.index_select(0, index) for key, value in self.tensors.items()}
        batch |= {"index": index, "epoch": epoch}
        if self.cache is not None:
            rows = index.numpy()
            for key, arrays in self.cache.flattened.items():
                values, batch_index = arrays.take(rows)
                batch |= {key: torch.from_numpy(values), "batch_index": torch.from_numpy(batch_index)}
            if self.cache.has_captions:
                texts = [self.cache.captions(int(row)) for row in rows]
                batch |= captions(texts, index, epoch=epoch, encode=self.encode, seed=self.seed)
        return {**batch, "skipped": skipped} if skipped else batch  # type: ignore[return-value,typeddict-item]

    def _usable(self, items: list[Item]) -> tuple[list[Item], list[int]]:
        if self.bad is None:
            return items, []
        bad = self.bad
        skipped = [index for _, index in items if bad[index]]
        return _fill(items, lambda item: None if bad[item[1]] else item, self.training, len(bad)), skipped


class SampleBatches(Dataset[Batch]):
    """Decode samples (unless a cache holds them), augment and fit them one by one."""

    def __init__(
        self,
        subset: Subset,
        *,
        fit: Fit,
        transform: SampleTransform | None = None,
        cache: SampleCache | None = None,
        training: bool = False,
        skip: bool = False,
        encode: Encode | None = None,
        seed: int = 0,
    ) -> None:
        self.subset, self.fit, self.transform, self.cache = subset, fit, transform, cache
        self.training, self.skip, self.encode, self.seed = training, skip, encode, seed

    def __len__(self) -> int:
        return len(self.subset)

    def __getitems__(self, items: list[Item]) -> Batch:
        """Return the batch of these (epoch, index) pairs."""
        skipped: list[int] = []
        if self.transform is not None:
            self.transform.prepare(items)
        rows = [index for _, index in items]
        many = self.subset.load_many(rows, items[0][0]) if self.cache is None else None
        if many is not None:
            found = [(item, self._fitted(item, one)) for item, one in zip(items, many, strict=True)]
        else:
            found = _fill(items, lambda item: self._try(item, skipped), self.training, len(self))
        index = _indices([item for item, _ in found])
        batch = collate([sample for _, sample in found])
        epoch = items[0][0]
        batch = {**batch, "index": index, "epoch": epoch}
        if "captions" in batch:
            drawn = captions(batch["captions"], index, epoch=epoch, encode=self.encode, seed=self.seed)
            batch = {**batch, **drawn}  # type: ignore[typeddict-item]
        return {**batch, "skipped": skipped} if skipped else batch

    def _try(self, item: Item, skipped: list[int]) -> tuple[Item, Sample] | None:
        epoch, index = item
        try:
            return item, self._fitted(item, self._load(epoch, index))
        except (OSError, ValueError):
            if not self.skip:
                raise
            skipped.append(index)
            return None

    def _load(self, epoch: int, index: int) -> Sample:
        if self.cache is None:
            return load(self.subset, index, epoch)
        if self.cache.bad[index]:
            raise ValueError(self.subset.name(index))
        return self.cache[index]

    def _fitted(self, item: Item, sample: Sample) -> Sample:
        if self.transform is not None:
            sample = self.transform(sample, epoch=item[0], index=item[1])
        return self.fit(sample)


def _fill(items: list[Item], get: Callable[[Item], Any], training: bool, size: int) -> list[Any]:
    """Get what can be had; a training batch takes the next good sample instead, others become smaller."""
    found = []
    for epoch, index in items:
        for step in range(size if training else 1):
            if (one := get((epoch, (index + step) % size))) is not None:
                found.append(one)
                break
    if not found:
        raise ValueError(
            f"none of the {len(items)} images of a batch can be read: see `src/data.py action=check`"
        )
    return found


def _indices(items: list[Item]) -> Tensor:
    return torch.from_numpy(np.array([index for _, index in items], dtype=np.int64))


def build_dataset(
    subset: Subset,
    *,
    preprocess: Preprocess,
    training: bool,
    transform: SampleTransform | None,
    encode: Encode | None,
    cache: bool | str,
    skip: bool,
    seed: int,
    own_size: bool = False,
) -> TensorBatches | SampleBatches:
    """Take the batches of a split out of memory where it fits, else out of files; results are the same.

    With `own_size` images stay as they are, and none is held: only those of one size fit into one batch.
    """
    common: dict[str, Any] = {"training": training, "encode": encode, "seed": seed}
    if own_size:
        return SampleBatches(subset, fit=identity, skip=skip, **common)
    fit = preprocess.fit
    if transform is None and (tensors := cached_arrays(subset, preprocess)):
        return TensorBatches(tensors, **common)
    need = size_of(subset, fit=None if transform else fit)
    held = subset.holds_images and transform is not None  # in memory already, to be augmented
    keep = not held and not (training and subset.endless) and fits(need, cache=cache)
    if keep and transform is None:
        return TensorBatches(*decode_all(subset, fit=fit, skip=skip), **common)
    decoded = SampleCache(subset, fit=None, skip=skip) if keep else None
    fit = fit if transform is None else preprocess.finish
    return SampleBatches(subset, fit=fit, transform=transform, cache=decoded, skip=skip, **common)


def cached_arrays(subset: Subset, preprocess: Preprocess) -> dict[str, Tensor] | None:
    """Return the tensors of a data set that holds finished images in memory already, else None."""
    images = subset.images
    if images is None or not preprocess.leaves(images.shape[1:3]) or not set(subset.targets) <= {"label"}:
        return None
    return {"image": torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))), **_labels(subset)}


def decode_all(subset: Subset, *, fit: Fit, skip: bool) -> tuple[dict[str, Tensor], SampleCache]:
    """Decode a subset to tensors: image (N, C, H, W) uint8 and what has one shape for all; and the rest."""
    cache = SampleCache(subset, fit=lambda sample: planes(fit(sample)), skip=skip, dense=True)
    tensors = {key: torch.from_numpy(raster.array) for key, raster in cache.rasters.items()}  # type: ignore[union-attr]
    return {**tensors, **_labels(subset)}, cache


def _labels(subset: Subset) -> dict[str, Tensor]:
    if subset.labels is None or "label" not in subset.targets:
        return {}
    return {"label": torch.from_numpy(subset.labels)}


def planes(sample: Sample) -> Sample:
    """Turn the image (H, W, C) into (C, H, W)."""
    return {**sample, "image": np.ascontiguousarray(sample["image"].transpose(2, 0, 1))}


def identity(batch: Any) -> Any:
    """Return what is given: in place of collation, since the data sets return whole batches, or of a fit."""
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
        worker_init_fn=start_worker,
    )


def start_worker(worker: int) -> None:
    """Keep a worker process small: no OpenCV threads, no garbage collector that writes to shared pages."""
    gc.freeze()
    one_thread_each()
    sys.excepthook = _report
    Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]


def _end(error: BaseException, batch: object) -> None:
    """End a worker that cannot hand over a batch: Python would drop that, and the training wait for ever."""
    if isinstance(error, EOFError | ConnectionError):  # the training has stopped
        return
    full = is_shared_memory(error)
    if not full:
        sys.__excepthook__(type(error), error, error.__traceback__)
    os.kill(os.getpid(), signal.SIGBUS if full else signal.SIGABRT)  # as where memory itself is not there


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Pass over what the thread that sends tensors meets when the training stops in the middle of one."""
    if not issubclass(kind, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, trace)
