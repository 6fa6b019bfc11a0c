"""Stop training when the monitored metric no longer improves."""

from __future__ import annotations

import logging
import math
from typing import Any

import lightning.pytorch as L

from fovea.errors import UsageError

log = logging.getLogger(__name__)


class EarlyStopping(L.callbacks.EarlyStopping):
    """Look at a metric of the training after every epoch, at one of the validation after every validation."""

    def __init__(self, *, monitor: str, mode: str = "min", **options: Any) -> None:
        if monitor.startswith("train/"):
            options["check_on_train_epoch_end"] = True
        super().__init__(monitor=monitor, mode=mode, **options)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse to wait for a validation that never comes."""
        super().setup(trainer, pl_module, stage)
        data = getattr(trainer, "datamodule", None)
        if self.monitor.startswith("val/") and stage == "fit" and len(getattr(data, "val", "unknown")) == 0:
            raise UsageError(
                f"callbacks.early_stopping follows {self.monitor}, but these data have no validation images: "
                "follow train/loss, or take another member of callbacks"
            )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the metric, and say why training ends."""
        super().on_train_epoch_end(trainer, pl_module)
        self._explain(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the metric, and say why training ends."""
        super().on_validation_end(trainer, pl_module)
        self._explain(trainer)

    def _explain(self, trainer: L.Trainer) -> None:
        message, self.stopping_reason_message = self.stopping_reason_message, None
        if message is None or not trainer.is_global_zero:
            return
        value, epoch = float(trainer.callback_metrics[self.monitor]), trainer.current_epoch + 1
        if math.isfinite(value):
            log.info("callbacks.early_stopping ends training after epoch %d: %s", epoch, message)
        else:
            log.warning(
                "callbacks.early_stopping ends training after epoch %d: %s is %s. Where the data do not "
                "define it (AP of a validation split without objects), set "
                "callbacks.early_stopping.monitor=val/loss and callbacks.early_stopping.mode=min",
                epoch, self.monitor, value,
            )  # fmt: skip
