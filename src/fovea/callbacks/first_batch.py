"""Draw the first batch that trains, augmented and with its annotations: what the net is really shown."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from fovea.data.choose import sample_of
from fovea.files import own_folder
from fovea.ops.annotations import annotated
from fovea.types import Batch

log = logging.getLogger(__name__)
SHOWN, COLUMNS = 16, 4  # images, and of them side by side


class FirstBatch(L.Callback):
    """Write `figures/first_batch.png` where images have boxes, masks or keypoints, before the first step.

    A drawing that fails stops no training: it is said in the log.
    """

    def __init__(self, *, run_dir: str | Path) -> None:
        self.path = Path(run_dir) / "figures" / "first_batch.png"

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Draw once, before the first step."""
        if trainer.global_step or not trainer.is_global_zero or not annotated(batch):
            return
        try:
            draw_batch(batch, trainer.datamodule, self.path)  # type: ignore[attr-defined]
        except (ValueError, OSError) as error:
            log.warning("%s is not drawn: %s", self.path, error)


def draw_batch(batch: Batch, data: Any, path: Path) -> None:
    """Draw the first images of a finished batch of a data module, with their annotations."""
    from fovea.page.annotations import Drawing, draw
    from fovea.page.image_grid import sheet

    dataset = data.train.dataset
    options = Drawing(
        list(dataset.classes),
        getattr(dataset, "palette", None),
        list(getattr(dataset, "mask_classes", None) or ()),
    )
    rows = range(min(SHOWN, len(batch["image"])))
    own_folder(path.parent)
    sheet(path, [draw(sample_of(batch, row, data.preprocessing), options) for row in rows], columns=COLUMNS)
