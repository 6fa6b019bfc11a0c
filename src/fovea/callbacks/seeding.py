"""Make every epoch's random numbers depend on (seed, epoch, rank), so that a resumed run repeats them."""

from __future__ import annotations

import random
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch

from fovea.ops.rng import seed_for


def seed_all(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class EpochSeeding(L.Callback):
    """Reseed at the start of every training epoch; dropout and the like then need no saved generator."""

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fetch the first batches of a resumed run again.

        The Trainer starts the loader's workers before it reads the checkpoint: they fetch those of epoch 0.
        """
        fetcher = trainer.fit_loop._data_fetcher
        if trainer.current_epoch > 0 and fetcher is not None:
            trainer.train_dataloader.batch_sampler.set_epoch(trainer.current_epoch)  # type: ignore[union-attr]
            iter(fetcher)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reseed for the epoch that starts."""
        self._reseed(trainer)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Reseed once more: starting a loader draws a number, and in a resumed run it starts before that."""
        if batch_idx == 0:
            self._reseed(trainer)

    def _reseed(self, trainer: L.Trainer) -> None:
        seed_all(seed_for(self.seed, trainer.current_epoch, trainer.global_rank, stream=7))
