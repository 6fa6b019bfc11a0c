"""Stop training when the monitored metric no longer improves."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as L

from fovea.errors import UsageError


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
