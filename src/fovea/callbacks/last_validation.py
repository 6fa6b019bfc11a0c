"""Validate the weights with which training ends."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as L


class LastValidation(L.Callback):
    """Validate after the last step, also where it lies between two validations.

    So the weights that a run ends with are measured whatever `trainer.check_val_every_n_epoch` and
    `trainer.max_steps` are.
    """

    _before: tuple[Any, Any] | None = None  # when the Trainer validates otherwise

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let the Trainer validate now, where this was the last step."""
        last_batch = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        ends = (
            trainer.should_stop
            or 0 < trainer.max_steps <= trainer.global_step
            or (last_batch and trainer.current_epoch + 1 == trainer.max_epochs)
        )
        if ends and self._before is None:
            self._before = trainer.check_val_every_n_epoch, trainer.val_check_batch
            trainer.check_val_every_n_epoch, trainer.val_check_batch = 1, batch_idx + 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put back what the Trainer was told."""
        if self._before is not None:
            trainer.check_val_every_n_epoch, trainer.val_check_batch = self._before
            self._before = None
