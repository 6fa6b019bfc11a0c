"""Choose which images form each batch, on every rank."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from fovea.ops import rng
from fovea.page.formats import counted

log = logging.getLogger(__name__)
Item = tuple[int, int]  # (epoch, index): a worker learns the epoch from the batch that it is asked for
_STREAM = 103


class TrainBatches(Sampler[list[Item]]):
    """Go through a permutation given by (seed, epoch), in as many batches on every rank.

    Batches are full; only a data set smaller than one batch per rank gives a single smaller one. The images
    that fill no batch differ from epoch to epoch. `batch_size` counts the images of one rank; a global batch
    of one size consists of the same images for any number of ranks. Without `shuffle` every epoch has the
    order of epoch 0: the first batch of sorted data as they lie would be of one class.
    """

    def __init__(
        self, *, size: int, batch_size: int, seed: int, rank: int = 0, world: int = 1, shuffle: bool = True
    ) -> None:
        if batch_size < 1 or size < world:
            raise ValueError(f"{size} training images cannot fill batches of {batch_size} on {world} devices")
        self.size, self.seed, self.rank, self.world, self.shuffle = size, seed, rank, world, shuffle
        self.batch_size = min(batch_size, size // world)
        self.epoch = 0

    @property
    def sampler(self) -> TrainBatches:
        """Let Lightning find `set_epoch`, which it looks up on the sampler of a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size // (self.batch_size * self.world)

    def __iter__(self) -> Iterator[list[Item]]:
        epoch, span = self.epoch, self.batch_size * self.world
        order = permutation(self.size, seed=self.seed, epoch=epoch if self.shuffle else 0)
        for start in range(0, len(self) * span, span):
            yield [(epoch, i) for i in order[start + self.rank : start + span : self.world].tolist()]


class EvalBatches(Sampler[list[Item]]):
    """Go through every image exactly once over all ranks, in order, with no padding."""

    def __init__(self, *, size: int, batch_size: int, rank: int = 0, world: int = 1) -> None:
        if size < world:
            raise ValueError(
                f"{size} evaluation images cannot be shared by {world} devices: use fewer devices"
            )
        self.indices = list(range(rank, size, world))
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[Item]]:
        for start in range(0, len(self.indices), self.batch_size):
            yield [(0, i) for i in self.indices[start : start + self.batch_size]]


def permutation(size: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return a permutation of 0…size-1, a pure function of (seed, epoch)."""
    return np.argsort(rng.bits(seed, epoch, np.arange(size), n=1, stream=_STREAM)[:, 0], kind="stable")


def fitted_batch_size(size: int, *, batch_size: int, name: str, reduced: bool, processes: int = 1) -> int:
    """Return the batch size, or the largest power of two that fits where only a part of the images trains.

    It counts the images of one process, each of which has its share. ValueError where all of them do not
    fill one batch.
    """
    if not size:
        raise ValueError(f"{name} has no training image")
    each = size // processes
    if batch_size <= each or not each:  # fewer images than processes: the batches themselves refuse that
        return batch_size
    fits = 1 << (each.bit_length() - 1)
    shared = f" for each of {processes} processes" if processes > 1 else ""
    if not reduced:
        raise ValueError(
            f"data.batch_size={batch_size} is more than the {each} training images of {name}{shared}: "
            f"set data.batch_size={fits} or lower"
        )
    images = counted(each, "image")
    log.warning("data.batch_size is %d instead of %d, as %s train%s", fits, batch_size, images, shared)
    return fits
