"""Log to wandb what the Trainer does not: config, learning rate, confusion matrix, most confident errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as L
import numpy as np
from lightning.pytorch.callbacks import Checkpoint

from fovea.callbacks.record import EpochRecord
from fovea.reading import read_npz
from fovea.runs.answers import read_answers
from fovea.runs.read import read_predictions

ALL_PAIRS = 100  # classes; of more, the table has only the pairs that occur: wandb cuts it at 10 000 rows


class Recorder(Protocol):
    """A logger with a run directory, whose errors need not end a training."""

    run_dir: Path

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        """Record a config."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record values of a step."""

    def warn_on_error(self, what: str) -> AbstractContextManager[None]:
        """Turn an error into a warning that `what` could not be done."""


class WandbMedia(Checkpoint):
    """Log beside the task's metrics; a `Checkpoint`, which the Trainer calls after the epoch's record."""

    def __init__(self, *, logger: Recorder) -> None:
        self.logger = logger

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Log the resolved config."""
        if stage == "fit" and self._active(trainer):
            self.logger.log_hyperparams(dict(getattr(pl_module, "meta", {}).get("config", {})))

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Log the learning rate of the step, as often as the Trainer logs and at the start of an epoch."""
        step = trainer.fit_loop.epoch_loop._batches_that_stepped  # the step under which the Trainer logs
        every = max(1, getattr(trainer, "log_every_n_steps", 50))
        due = batch_idx == 0 or step % every == 0
        if due and trainer.optimizers and self._active(trainer):
            rates = [float(group["lr"]) for o in trainer.optimizers for group in o.param_groups]
            self.logger.log_metrics({"lr": max(rates)}, step=step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what the record knows of the epoch beside the task's metrics, in the row of those."""
        if not self._active(trainer):
            return
        rows = [c.rows[-1] for c in trainer.callbacks if isinstance(c, EpochRecord) and c.rows]  # type: ignore[attr-defined]
        extra = {k: v for row in rows for k, v in row.items() if "/" not in k and k not in ("step", "lr")}
        self.logger.log_metrics({"epoch": trainer.current_epoch, **extra})

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the confusion matrix and the most confident errors that the run directory holds."""
        if not self._active(trainer):
            return
        classes = list(getattr(pl_module, "meta", {}).get("classes", []))
        folder = self.logger.run_dir / "predictions"
        with self.logger.warn_on_error("record the confusion matrix"):
            saved = read_predictions(self.logger.run_dir)
            if "probs" in saved or "top" in saved:  # of one label per image; of masks the report has a figure
                answers = read_answers(self.logger.run_dir, classes)
                if answers is not None:
                    plot = confusion(answers.target, answers.predicted, answers.classes)
                    self.logger.log_metrics({"test/confusion_matrix": plot})
        with self.logger.warn_on_error("record the most confident errors"):
            if (folder / "examples.npz").is_file():
                saved = read_npz(folder / "examples.npz")
                if "mistakes_ids" in saved:
                    self.logger.log_metrics(mistakes(saved, classes))

    def _active(self, trainer: L.Trainer) -> bool:
        """Whether this process logs; fast_dev_run and the tuners take the loggers away."""
        return trainer.is_global_zero and self.logger in trainer.loggers


def confusion(target: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Any:
    """Return wandb's confusion chart over a table of (actual, predicted, count) rows."""
    import wandb

    count, known = len(classes), predicted >= 0
    pairs, numbers = np.unique(target[known].astype(np.int64) * count + predicted[known], return_counts=True)
    found = dict(zip(pairs.tolist(), numbers.tolist(), strict=True))
    kept = range(count**2) if count <= ALL_PAIRS else pairs.tolist()
    rows = [[_name(classes, p // count), _name(classes, p % count), found.get(p, 0)] for p in kept]
    columns: list[Any] = ["Actual", "Predicted", "nPredictions"]
    return wandb.plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",
        data_table=wandb.Table(columns=columns, data=rows),
        fields={c: c for c in columns},
        string_fields={"title": "Confusion matrix (test)"},
    )


def mistakes(saved: dict[str, np.ndarray], classes: Sequence[str]) -> dict[str, Any]:
    """Return the most confident errors as a table with pictures, and as a gallery."""
    import wandb

    columns: list[str | int] = ["image", "id", "true", "predicted", "probability"]
    table = wandb.Table(columns=columns)
    gallery = []
    kept = (saved[f"mistakes_{name}"] for name in ("image", "ids", "truth", "answer"))
    for image, sample, target, probs in zip(*kept, strict=True):
        true, predicted, prob = _name(classes, target), _name(classes, probs.argmax()), probs.max()
        image = image[..., 0] if image.shape[2] == 1 else image
        table.add_data(wandb.Image(image, file_type="png"), str(sample), true, predicted, float(prob))
        caption = f"{true}, predicted as {predicted} ({prob:.0%})"
        gallery.append(wandb.Image(image, file_type="png", caption=caption))
    return {"test/mistakes": table, **({"test/mistakes_images": gallery} if gallery else {})}


def _name(classes: Sequence[str], index: int) -> str:
    return str(classes[index]) if index < len(classes) else str(index)
