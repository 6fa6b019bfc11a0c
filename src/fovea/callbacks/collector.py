"""Collect what a net gives on the test split, on every process, and write it down once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch


class Collector(L.Callback, ABC):
    """Hold what collectors share: when they start, see a batch, gather and write (with a `dirpath`)."""

    def __init__(self, *, dirpath: Path | str | None = None) -> None:
        self.dirpath = Path() if dirpath is None else Path(dirpath)
        self.writes = dirpath is not None

    @abstractmethod
    def clear(self) -> None:
        """Start with nothing."""

    @abstractmethod
    def take(self, outputs: Any, batch: Any, data: Any) -> None:
        """See one batch of this process and what `step` gave for it; `data` is the data module."""

    @abstractmethod
    def collected(self) -> Any:
        """Return what this process has seen, on the CPU; None where it saw nothing."""

    @abstractmethod
    def write(self, everywhere: list[Any], data: Any) -> None:
        """Write what the processes have seen into `dirpath`, which exists."""

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier test."""
        self.clear()

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """See a batch."""
        self.take(outputs, batch, _data(trainer))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather from all processes, and write on the first."""
        everywhere: list[Any] = [self.collected()]
        if trainer.world_size > 1:
            mine, everywhere = everywhere[0], [None] * trainer.world_size
            torch.distributed.all_gather_object(everywhere, mine)
        found = [one for one in everywhere if one is not None]
        if found and trainer.is_global_zero and self.writes:
            self.dirpath.mkdir(parents=True, exist_ok=True)
            self.write(found, _data(trainer))


def _data(trainer: Any) -> Any:
    return trainer.datamodule  # Lightning sets it without declaring it
