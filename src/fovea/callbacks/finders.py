"""Find a learning rate or a batch size by trial, before training."""

from __future__ import annotations

import logging
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder

from fovea.optim.range_test import single_losses, steepest

log = logging.getLogger(__name__)


class LRFinder(LearningRateFinder):
    """Run a learning-rate range test (Smith 2017) and train with its suggestion, also when resumed."""

    _found: float | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(update_attr=False, **kwargs)
        self.found: dict[str, dict[str, Any]] = {}  # by config key: the value given, the one used, the curve

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Store the module whose learning rate is searched."""
        self._module = pl_module

    def state_dict(self) -> dict[str, Any]:
        """Return the suggested learning rate, and how it was found."""
        return {"lr": self._found, "found": self.found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the suggested learning rate."""
        self._found, self.found = state_dict.get("lr"), state_dict.get("found") or {}
        if self._found is not None:
            self._module.lr = self._found

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Search, unless a resumed run has its learning rate already."""
        if trainer.ckpt_path is not None:
            return
        before, epochs = float(pl_module.lr), trainer.max_epochs  # type: ignore[arg-type]
        trainer.fit_loop.max_epochs = -1  # a small set is gone through as often as the search needs
        try:
            super().on_fit_start(trainer, pl_module)
        finally:
            trainer.fit_loop.max_epochs = epochs
            _not_resumed(trainer)
        self._take(trainer, pl_module, before)
        # Lightning sets one rate for every group and leaves the schedule's own; both follow the new rate so
        trainer.strategy.setup_optimizers(trainer)

    def _take(self, trainer: L.Trainer, pl_module: L.LightningModule, before: float) -> None:
        """Train with the rate at which the loss fell most steeply, and record the curve."""
        searched = {} if self.optimal_lr is None else self.optimal_lr.results
        rates = [float(rate) for rate in searched.get("lr", [])]
        losses = single_losses(searched.get("loss", []), accumulated=trainer.accumulate_grad_batches)
        suggested = steepest(rates, losses)
        if suggested is None:
            log.warning(
                "the learning-rate finder found no slope to suggest from; optimizer.lr=%g stays", before
            )
            return
        self._found = float(f"{suggested:.4g}")  # what is printed is what is used
        pl_module.lr = self._found  # type: ignore[assignment]
        curve = {"lr": rates, "loss": losses}
        self.found = {"optimizer.lr": {"given": before, "used": self._found, "curve": curve}}
        log.info(
            "the learning-rate finder suggests optimizer.lr=%g; training uses it instead of %g",
            self._found,
            before,
        )


class BatchSize(BatchSizeFinder):
    """Double the batch until memory runs out, and train with the largest size that was tried and fits.

    A resumed run continues with the size that was found, and a test uses it.
    """

    def __init__(self, *, max_val: int = 1024, **kwargs: Any) -> None:
        self.max_val = max_val
        super().__init__(max_val=max_val + 1, **kwargs)  # the search takes a limit for found without a trial
        self._found: int | None = None
        self.found: dict[str, dict[str, Any]] = {}  # by config key: the value given and the one used
        self._trainer: L.Trainer | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str | None = None) -> None:
        """Store the trainer whose batch size is searched; a test needs no search."""
        if stage == "fit":
            self._trainer = trainer
            super().setup(trainer, pl_module, stage)

    def state_dict(self) -> dict[str, Any]:
        """Return the suggested batch size, and what was given."""
        return {"batch_size": self._found, "found": self.found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the suggested batch size."""
        self._found, self.found = state_dict.get("batch_size"), state_dict.get("found") or {}
        if self._found is not None and self._trainer is not None:
            self._trainer.datamodule.batch_size = self._found  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Search, unless the run is a resumed one."""
        if trainer.ckpt_path is not None or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        before = int(data.batch_size)
        super().on_fit_start(trainer, pl_module)
        _not_resumed(trainer)
        size = int(self.optimal_batch_size or self._init_val)
        while size > max(1, min(self.max_val, len(data.train))):
            size //= 2
        self._found = self.optimal_batch_size = size
        self.found = {"data.batch_size": {"given": before, "used": size}}
        data.batch_size = size
        trainer.fit_loop._combined_loader = None
        trainer.fit_loop.setup_data()
        trainer.strategy.setup_optimizers(trainer)  # a larger batch means fewer steps for the schedule
        log.info(
            "the batch-size finder suggests data.batch_size=%d; training uses it instead of %d", size, before
        )

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Skip the search: a test uses the suggested batch size."""


def _not_resumed(trainer: L.Trainer) -> None:
    """Forget the checkpoint of the search, by which other callbacks would take the run for a resumed one."""
    trainer._checkpoint_connector._ckpt_path = None
