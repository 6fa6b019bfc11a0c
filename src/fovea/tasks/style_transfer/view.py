"""Write the image of a style transfer, epoch by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np

from fovea.files import own_folder, replacing


class ImageRecorder(L.Callback):
    """Write `images/step_XXXX.png` at the start and after every epoch, and `result.png` at the end.

    Beside them lie `images/content.png` and `images/style.png` as the net sees them. A logger that takes
    images, such as wandb's, gets each of them.
    """

    def __init__(self, *, run_dir: Path | str) -> None:
        self.run_dir = Path(run_dir)
        self.folder = self.run_dir / "images"

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the two pictures, and the first image of a new run."""
        task: Any = pl_module
        if not _writes(trainer):
            return
        own_folder(self.folder)
        for name in ("content", "style"):
            write(self.folder / f"{name}.png", task.picture(getattr(task, name)).numpy())
        if trainer.global_step == 0:
            self._step(trainer, task)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the current image."""
        if _writes(trainer):
            self._step(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the result."""
        self._result(trainer, pl_module)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the result again: what was tested is the image with the lowest loss."""
        self._result(trainer, pl_module)

    def _step(self, trainer: L.Trainer, task: Any) -> None:
        picture = task.picture().numpy()
        write(self.folder / f"step_{trainer.global_step:04d}.png", picture)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("image", [picture], step=trainer.global_step)

    def _result(self, trainer: L.Trainer, task: Any) -> None:
        if _writes(trainer):
            write(self.run_dir / "result.png", task.picture().numpy())


def _writes(trainer: Any) -> bool:
    return trainer.is_global_zero and not trainer.fast_dev_run  # Lightning sets the latter undeclared


def write(path: Path, picture: np.ndarray) -> None:
    """Write a PNG (H, W, 1 or 3), whole or not at all."""
    from PIL import Image

    with replacing(path) as draft:
        Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(draft, "png")
