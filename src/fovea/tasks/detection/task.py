"""Detection: any number of labelled boxes in an image."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fovea.ops.box_match import padded
from fovea.tasks.base import Task
from fovea.tasks.detection.speed import detection_times
from fovea.tasks.detection.trained_boxes import FILE, TrainedBoxes
from fovea.types import Batch, Output

log = logging.getLogger(__name__)
ENOUGH = 16  # images of a step, of which batch statistics are worth keeping


class Detection(Task):
    """Minimise the sum of a detector's losses; objects to be ignored train nothing.

    Validation has losses and detections from one forward; a loss is then the mean of those of the images.
    Where a step has fewer than 16 images and the backbone was trained elsewhere, its statistics of batch norm
    stay as they are; those of new layers are always trained.

    Args:
        freeze_batch_norm: True, False, or None to decide by the images of a step.
    """

    def __init__(self, *, net: nn.Module, freeze_batch_norm: bool | None = None, **kwargs: Any) -> None:
        super().__init__(net=net, **kwargs)
        if not callable(getattr(net, "losses", None)) or not callable(getattr(net, "detect", None)):
            raise ValueError(
                f"a {type(net).__name__} finds no boxes: task=detection needs a detector, such as "
                "model=retinanet, model=faster_rcnn or model=yolo_v1"
            )
        self.freeze_batch_norm = freeze_batch_norm
        self._trained_boxes = TrainedBoxes()

    def step(self, batch: Batch) -> Output:
        """Return the losses; but in training also detections (B, D, 6) and true boxes (B, M, 6)."""
        if "boxes" not in batch or "labels" not in batch:
            raise ValueError(
                "task=detection needs boxes and their classes: choose data that have both, such as "
                "data=scenes, or set data.targets=[boxes,labels]"
            )
        boxes, labels, ignore = batch["boxes"], batch["labels"], batch.get("ignore")
        raw = self.net.raw(batch["image"])  # type: ignore[operator]
        known = [
            {"boxes": b, "labels": k} if ignore is None else {"boxes": b[~ignore[i]], "labels": k[~ignore[i]]}
            for i, (b, k) in enumerate(zip(boxes, labels, strict=True))
        ]
        if self.training:
            self._keep_sizes(raw, known)
            return self._losses(raw, known)
        output = self._mean_losses(raw, known)
        found = self.net.detect(raw)  # type: ignore[operator]
        return {**output, "preds": found, "target": padded(boxes, labels, ignore)}

    def _keep_sizes(self, raw: Any, objects: list[dict[str, Tensor]]) -> None:
        """Keep the sizes of the first boxes that train, where the net has anchors for them."""
        find = getattr(self.net, "anchor_boxes", None)
        if find is not None and not self._trained_boxes.full:
            with torch.no_grad():
                anchors = find(raw)
            if anchors is not None:
                self._trained_boxes.add(anchors, [one["boxes"] for one in objects])

    def on_train_epoch_end(self) -> None:
        """Log the epoch; after the first, write the sizes of the boxes beside what is predicted."""
        super().on_train_epoch_end()
        run_dir = Path(self.trainer.default_root_dir)
        if self.trainer.is_global_zero and not (run_dir / FILE).exists():
            self._trained_boxes.write(run_dir)

    def test_step(self, batch: Batch, batch_idx: int) -> Output:
        """Measure the test split; time the net on the first image, where one process has it to itself."""
        if batch_idx == 0 and self.trainer.world_size == 1:
            self.timing |= detection_times(self.net, batch["image"][:1])
        return super().test_step(batch, batch_idx)

    def _losses(self, raw: Any, objects: list[dict[str, Tensor]]) -> Output:
        parts: dict[str, Tensor] = self.net.losses(raw, objects)  # type: ignore[operator]
        named = {f"loss_{name.removeprefix('loss_')}": value for name, value in parts.items()}
        return {"loss": torch.stack(list(named.values())).sum(), **named}  # type: ignore[typeddict-item]

    def _mean_losses(self, raw: Any, objects: list[dict[str, Tensor]]) -> Output:
        """Return the mean of the images' losses, which does not depend on the batch, nor on chance."""
        each = []
        for one, known in zip(self.net.split(raw), objects, strict=True):  # type: ignore[operator]
            with torch.random.fork_rng(self._devices()):  # a two-stage net samples regions for its losses
                torch.manual_seed(0)
                each.append(self._losses(one, [known]))
        return {key: torch.stack([one[key] for one in each]).mean() for key in each[0]}  # type: ignore[literal-required,return-value]

    def _devices(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []

    def on_train_start(self) -> None:
        """Decide about batch norm, and say so."""
        super().on_train_start()
        images = self._images_a_step()
        trained: Any = getattr(self.net, "backbone", self.net)
        self._frozen = [m for m in trained.modules() if isinstance(m, _BatchNorm)]
        freeze = self.freeze_batch_norm
        if freeze is None:
            freeze = images < ENOUGH and bool(self._trained_elsewhere())
        if not freeze:
            self._frozen = []
        elif self._frozen:
            log.info(
                "the statistics of %d batch norms stay as they are: %d images a step are too few "
                "(task.freeze_batch_norm=false trains them)", len(self._frozen), images,
            )  # fmt: skip

    def on_train_epoch_start(self) -> None:
        """Keep frozen what validation or Lightning has set to training."""
        super().on_train_epoch_start()
        for module in self._frozen:
            module.eval()

    def _images_a_step(self) -> int:
        data: Any = getattr(self.trainer, "datamodule", None)
        return int(getattr(data, "batch_size", ENOUGH))

    def _trained_elsewhere(self) -> bool:
        config = self.meta.get("config") or {}
        model, init = config.get("model") or {}, config.get("init") or {}
        return bool(model.get("pretrained") or model.get("checkpoint") or init.get("checkpoint"))
