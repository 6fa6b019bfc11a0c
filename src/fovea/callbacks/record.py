"""Record what a run measures, epoch by epoch."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Checkpoint

from fovea.errors import UsageError
from fovea.files import append, write_text
from fovea.reading import read_text

log = logging.getLogger(__name__)
FIRST = ("epoch", "step")
EVERY = (*FIRST, "epoch_s", "train_images_per_s")  # columns of every row


class EpochRecord(Checkpoint):
    """Append one row to `metrics.csv` per epoch; a resumed run goes on after those of its checkpoint.

    It is a `Checkpoint` so that the Trainer calls it after every metric of the epoch is logged.
    """

    def __init__(
        self,
        *,
        path: Path,
        on_start: Callable[[], None] | None = None,
        on_epoch: Callable[[], None] | None = None,
    ) -> None:
        self.path, self.on_start, self.on_epoch = path, on_start, on_epoch
        self._validated = False
        self.rows: list[dict[str, float]] = []
        self.images = 0
        self._lr: dict[str, float] = {}
        self._stage = "fit"
        self.began: float | None = None  # when the first batch was about to run, seconds since the epoch
        self._start = self._pause = self._paused = 0.0
        self._names: list[str] = []  # the columns of the file
        self._earlier = 0.0  # seconds of training before a resumption
        self._begin: float | None = None
        self._end: float | None = None

    @property
    def epoch_s(self) -> list[float]:
        """Seconds of training and validation of each epoch."""
        return [row["epoch_s"] for row in self.rows]

    @property
    def fit_s(self) -> float:
        """Seconds of the whole training so far, checkpoints included."""
        if self._begin is None:
            return self._earlier
        return self._earlier + (time.perf_counter() if self._end is None else self._end) - self._begin

    @property
    def train_images_per_s(self) -> float:
        """Median training throughput over the epochs, validation excluded."""
        rates = sorted(row["train_images_per_s"] for row in self.rows)
        return rates[len(rates) // 2] if rates else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return how many rows there are, and the time that they took."""
        return {"rows": len(self.rows), "fit_s": self.fit_s}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Note the stage: testing an earlier checkpoint must not take the record back to it."""
        self._stage = stage

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows of the epochs that the checkpoint to resume counts."""
        if self._stage == "fit":
            count = int(state_dict["rows"])
            self.rows, self._earlier = _read(self.path)[:count], float(state_dict["fit_s"])
            if len(self.rows) < count:
                log.warning("%s lacks epochs before this resumption: their curves are lost", self.path)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Drop rows of epochs that a killed run had begun after its last checkpoint."""
        self.began, self._begin = time.time(), time.perf_counter()
        if self.on_start is not None:
            self.on_start()
        if self.rows and trainer.is_global_zero:
            self.write()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock of the training."""
        self._end = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of the epoch, and note the highest learning rate with which it starts."""
        rates = [float(group["lr"]) for o in trainer.optimizers for group in o.param_groups]
        self._lr = {"lr": max(rates)} if rates else {}
        self._start, self._paused, self.images = time.perf_counter(), 0.0, 0
        self._validated = False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images of this process."""
        self.images += len(batch["image"])

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the training clock."""
        self._pause = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restart the training clock."""
        self._validated = True
        self._paused += time.perf_counter() - self._pause

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the row of the epoch; what it did not measure stays empty."""
        seconds = time.perf_counter() - self._start
        row: dict[str, float] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        row |= {
            name: float(value)
            for name, value in sorted(trainer.callback_metrics.items(), key=lambda item: _stage(item[0]))
            if not name.endswith("_step") and (self._validated or not name.startswith("val/"))
        }
        row |= self._lr
        row["epoch_s"] = seconds
        row["train_images_per_s"] = self.images * trainer.world_size / max(1e-9, seconds - self._paused)
        self.rows.append(row)
        if trainer.is_global_zero:
            if set(row) <= set(self._names):
                append(self.path, _lines(self._names, [row]))
            else:
                self.write()
            if self.on_epoch is not None:
                self.on_epoch()

    def write(self) -> None:
        """Write all rows, whole or not at all."""
        names = sorted({k for row in self.rows for k in row} - set(FIRST))
        self._names = [*FIRST, *names]
        write_text(self.path, _lines(self._names, [{name: name for name in self._names}, *self.rows]))


def _lines(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    text = io.StringIO(newline="")
    csv.DictWriter(text, names, restval="").writerows(rows)
    return text.getvalue()


def _read(path: Path) -> list[dict[str, float]]:
    """Return the rows of a file, without a last one that a kill cut off."""
    if not path.is_file():
        return []
    try:
        lines = read_text(path).splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        rows = [
            {name: int(cell) if name in FIRST else float(cell) for name, cell in row.items() if cell}
            for row in csv.DictReader(whole)
        ]
        if lacking := [name for name in EVERY for row in rows if name not in row]:
            raise ValueError(f"a row has no {lacking[0]}")
        return rows
    except (TypeError, ValueError, csv.Error) as error:
        raise UsageError(f"{path} is no record of a training ({error}): restore it, or delete it") from None


def _stage(name: str) -> str:
    """Return the part of a metric's name that says when it is measured, which sorts as the stages do."""
    return name.partition("/")[0]
