"""Keep the best and the last checkpoint of a run."""

from __future__ import annotations

import logging
import math
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from fovea.files import own_folder, remove_drafts, replacing

log = logging.getLogger(__name__)
# what is kept of the best epoch
BEST = {"value": float | None, "tie": float | None, "metrics": dict, "epoch": int, "step": int}


class BestAndLast(Checkpoint):
    """Write `last.ckpt` after every epoch and `best.ckpt` when the monitored metric improves.

    Every validation counts, also in the middle of an epoch (`trainer.val_check_interval`); weights that were
    not validated are never best, unless the run never validates.

    Ties go to the lower `tie_break` loss, then to the earlier weights. Files are moved into place whole, so a
    kill at any moment leaves the previous ones readable. Without the monitored metric the last epoch is best.
    """

    def __init__(
        self,
        *,
        dirpath: str,
        monitor: str,
        mode: str = "max",
        tie_break: str = "val/loss",
        every_n_epochs: int = 1,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"metrics.mode is {mode!r}; it must be 'min' or 'max'")
        if every_n_epochs < 1:
            raise ValueError(f"checkpoint.every_n_epochs is {every_n_epochs}; it must be at least 1")
        self.dirpath, self.monitor, self.mode, self.tie_break = Path(dirpath), monitor, mode, tie_break
        self.every_n_epochs = every_n_epochs
        self.best: dict[str, Any] | None = None
        self._stage = "fit"
        self._measured: int | None = None  # the step of the last validation
        self._resumed = False  # from a checkpoint that was perhaps not copied to best.ckpt any more
        self.saved: int | None = None  # the step of the last checkpoint
        self.stopped = False  # whether another callback ended training with that epoch

    @property
    def best_path(self) -> Path:
        """Where the best checkpoint is."""
        return self.dirpath / "best.ckpt"

    @property
    def last_path(self) -> Path:
        """Where the last checkpoint is."""
        return self.dirpath / "last.ckpt"

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far, the step of the last checkpoint, and whether training ended with it."""
        return {"best": self.best, "saved": self.saved, "stopped": self.stopped}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Note the stage: testing an earlier checkpoint must not change what is best."""
        self._stage = stage

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what was best so far."""
        if self._stage != "fit":
            return
        best = state_dict["best"]
        if best is not None and not all(key in best and isinstance(best[key], BEST[key]) for key in BEST):
            raise ValueError("what it says of the best epoch is incomplete")
        self.best, self.saved, self._resumed = best, state_dict["saved"], True

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Delete half a file, which a kill left, and write the next ones in their place."""
        if trainer.is_global_zero:
            remove_drafts(self.dirpath)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = _InPlace()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Finish what a kill cut short, once a step has shown that the last checkpoint goes on."""
        self._copy_best(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Finish it for a run that had trained its last epoch."""
        self._copy_best(trainer)

    def _copy_best(self, trainer: L.Trainer) -> None:
        """Copy the checkpoint that is resumed from to `best.ckpt`, where a kill came before that was done."""
        resumed, self._resumed = self._resumed, False
        last_is_best = self.best is not None and self.best["step"] == self.saved
        if resumed and last_is_best and trainer.is_global_zero:
            _copy(self.last_path, self.best_path)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the best in the middle of an epoch; what its last batch leads to is saved at its end."""
        if self._stage != "fit" or trainer.fast_dev_run or trainer.sanity_checking:  # type: ignore[attr-defined]
            return
        self._measured = trainer.global_step
        between = not _stops(trainer) and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        measured = self.monitor in trainer.callback_metrics and not self.monitor.startswith("train/")
        if between and measured and self._improved(trainer):
            self._save(trainer, self.best_path)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, once every other callback has seen the epoch."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        improved = self._improved(trainer)
        ends = _stops(trainer) or trainer.current_epoch + 1 == trainer.max_epochs
        if not improved and not ends and (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        self.saved, self.stopped = trainer.global_step, bool(trainer.should_stop)
        self._save(trainer, self.last_path)
        if improved and trainer.is_global_zero:
            _copy(self.last_path, self.best_path)

    def _improved(self, trainer: L.Trainer) -> bool:
        metrics = trainer.callback_metrics
        when = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        validates = trainer.enable_validation and _has_validation_images(trainer)
        if validates and self._measured != trainer.global_step and not self.monitor.startswith("train/"):
            return False
        if self.monitor not in metrics:
            if validates and self.best is None:
                known = ", ".join(sorted(metrics))
                log.warning(
                    "metrics.monitor=%s is not logged; the last epoch counts as best (logged: %s)",
                    self.monitor,
                    known,
                )
            self.best = {"monitor": self.monitor, "value": None, "tie": None, "metrics": {}, **when}
            return True
        sign = 1.0 if self.mode == "max" else -1.0
        value = float(metrics[self.monitor])
        tie = float(metrics.get(self.tie_break, math.inf))
        key = (sign * value, -tie) if math.isfinite(value) else (-math.inf, -math.inf)
        best = self.best
        if best is None and not math.isfinite(value):
            log.warning(
                "%s=%s after the first validation: until it is a number, the last epoch counts as best "
                "(the AP of data without objects, say; metrics.monitor=val/loss follows another)",
                self.monitor, value,
            )  # fmt: skip
        if best is not None and best["value"] is not None and key <= (sign * best["value"], -best["tie"]):
            return False
        found = {name: float(one) for name, one in metrics.items() if name.startswith("val/")}
        self.best = {"monitor": self.monitor, "value": value, "tie": tie, "metrics": found, **when}
        return True

    def _save(self, trainer: L.Trainer, path: Path) -> None:
        own_folder(self.dirpath)
        writes = replacing(path) if trainer.is_global_zero else nullcontext(path)
        with writes as draft:  # every process takes part in saving, the first writes
            trainer.save_checkpoint(draft, weights_only=False)
        trainer.strategy.barrier("fovea_checkpoint")


class _InPlace(TorchCheckpointIO):
    """Write into the file itself: Lightning's own takes memory and room in /tmp for a second checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with open(path, "wb") as file:  # as a stream: torch would write the name of a path into the archive
            torch.save(checkpoint, file)


def _stops(trainer: L.Trainer) -> bool:
    """Whether training ends now, and the epoch with it."""
    return trainer.should_stop or 0 < trainer.max_steps <= trainer.global_step


def _has_validation_images(trainer: L.Trainer) -> bool:
    data = getattr(trainer, "datamodule", None)
    return len(getattr(data, "val", "unknown")) > 0


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as draft:
        shutil.copyfile(source, draft)
