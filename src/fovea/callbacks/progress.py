"""Show the progress of training: a live bar on a terminal."""

from __future__ import annotations

import sys
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import TQDMProgressBar


class Bar(TQDMProgressBar):
    """Lightning's bar without the version number, and with room for metrics."""

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Any:
        """Return what is shown after the bar."""
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        return items


def progress() -> list[L.Callback]:
    """Return the bar on a terminal; elsewhere the log has a line per epoch."""
    return [Bar(refresh_rate=10, leave=False)] if sys.stderr.isatty() else []
