"""Find a learning rate or a batch size by trial, before training."""

from __future__ import annotations

import logging

import lightning.pytorch as L
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder

log = logging.getLogger(__name__)


class LRFinder(LearningRateFinder):
    """Run a learning-rate range test (Smith 2017) and train with its suggestion."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Search, unless a resumed run has its learning rate already."""
        if trainer.ckpt_path is not None:
            return
        before = pl_module.lr
        super().on_fit_start(trainer, pl_module)
        if self.optimal_lr is None or self.optimal_lr.suggestion() is None:
            log.warning(
                "the learning-rate finder found no slope to suggest from; optimizer.lr=%g stays", before
            )
        else:
            log.info("the learning-rate finder suggests optimizer.lr=%.3g; training uses it", pl_module.lr)
        # Lightning sets one rate for every group and leaves the schedule's own; both follow the new rate so
        trainer.strategy.setup_optimizers(trainer)


class BatchSize(BatchSizeFinder):
    """Grow the batch until memory runs out, and train with the largest that fits."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Search, unless the run is a resumed one."""
        if trainer.ckpt_path is not None:
            return
        super().on_fit_start(trainer, pl_module)
        log.info(
            "the batch-size finder suggests data.batch_size=%s; training uses it", self.optimal_batch_size
        )
