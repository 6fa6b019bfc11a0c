"""Segmentation: one class per pixel."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.ops.segmentation import class_map
from fovea.ops.weighted import in_use
from fovea.predict.full_size import Window, enlarged, over_image, sides_of
from fovea.tasks.base import Task
from fovea.types import IGNORE, Batch, Output

log = logging.getLogger(__name__)
MASKS = 512  # training masks that balanced class weights are counted on
Loss = Callable[[Tensor, Tensor], Tensor]  # logits (B, K, H, W), mask (B, H, W) → a number


class Segmentation(Task):
    """Minimise a weighted sum of losses between logits (B, K, H, W) and masks (B, H, W), 255 = ignore.

    For two classes K may be 1, the logit of the second. A training loss is of all pixels of a batch;
    validation and test take the mean of the images' losses, which does not depend on the batches.

    Args:
        losses: each with a `weight`; one that is None or has weight 0 is left out. All are logged.
        metrics: as for every task, of class maps (B, H, W).
        full_size: measure test images at their own size, what the net gives being enlarged to the mask, as
            papers do. Validation, once an epoch, stays at the size that the net sees.
        window, overlap: slide a window over test images at their own scale, as predict does.
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        losses: Mapping[str, Loss | None],
        full_size: bool = True,
        window: Window = None,
        overlap: float = 0.25,
        **kwargs: Any,
    ) -> None:
        super().__init__(net=net, **kwargs)
        self.losses = in_use(losses, key="task.losses")
        self.full_size, self.window, self.overlap = full_size, window, overlap
        sides_of(window, overlap)  # a wrong one is refused at once
        self._classes: int | None = None
        self._names: list[str] = []

    def setup(self, stage: str) -> None:
        """Read the number of classes from the data module, and balanced class weights where asked for."""
        data = getattr(self.trainer, "datamodule", None)
        self._classes = getattr(data, "num_classes", None)
        self._names = list(getattr(data, "classes", ()))
        self._preprocess: Any = getattr(data, "preprocess", None)
        balanced = [
            k for k, (loss, _) in self.losses.items() if getattr(loss, "class_weights", 0) == "balanced"
        ]
        weights = balanced_weights(data.train, num_classes=len(self._names)) if balanced and data else None
        for name in balanced:
            loss, weight = self.losses[name]
            self.losses[name] = replace(loss, class_weights=weights), weight  # type: ignore[type-var]

    def on_test_epoch_end(self) -> None:
        """Name the classes that no test mask shows, and log the metrics."""
        self._name_unseen("test")
        super().on_test_epoch_end()

    def on_validation_epoch_end(self) -> None:
        """Name the classes that no validation mask shows, once, and log the metrics."""
        if self.current_epoch == 0:
            self._name_unseen("val")
        super().on_validation_epoch_end()

    def _name_unseen(self, stage: str) -> None:
        found = [getattr(metric, "confusion", None) for metric in self._metrics(stage).values()]
        counts: Any = next((matrix for matrix in found if matrix is not None), None)
        if counts is None or len(counts) != len(self._names):
            return
        unseen = [name for name, n in zip(self._names, counts.sum(1).tolist(), strict=True) if not n]
        if unseen:
            log.warning(
                "%s masks: no pixel is %s, so that no score says how well it is found",
                stage,
                ", ".join(unseen),
            )

    def step(self, batch: Batch) -> Output:
        """Return the losses, the most probable class of each pixel and the mask."""
        if "mask" not in batch:
            raise ValueError("task=segmentation needs masks: choose other data, or data.targets=[mask]")
        mask = batch["mask"]
        _check_size("the image", batch["image"], mask)
        logits = self(batch["image"])
        return {**self._losses(logits, mask), "preds": class_map(logits.detach()), "target": mask}  # type: ignore[typeddict-item]

    def test_step(self, batch: Batch, batch_idx: int) -> Output:
        """Measure the test split, images of any size (1, C, H, W) uint8 at their own."""
        output = self._at_own_size(batch) if batch["image"].dtype == torch.uint8 else self.step(batch)
        self._record("test", batch, output)
        return output

    def _at_own_size(self, batch: Batch) -> Output:
        """Return the losses at the scale at which the net saw one image, and its classes at its own size."""
        image, mask = batch["image"], batch["mask"]
        _check_size("the image", image, mask)
        logits = over_image(
            lambda x: self(self.trainer.precision_plugin.convert_input(x)),
            image, self._preprocess, window=self.window, overlap=self.overlap,
        )  # fmt: skip
        seen = F.interpolate(mask[:, None], size=logits.shape[2:], mode="nearest-exact")[:, 0].long()
        preds = enlarged(logits, (mask.shape[1], mask.shape[2]))
        return {**self._losses(logits, seen), "preds": preds, "target": mask}  # type: ignore[typeddict-item]

    def _losses(self, logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return each loss and their weighted sum, and of how many images they are the mean."""
        self._check_head(logits, mask)
        if self.training:
            return self._sum_of_losses(logits, mask)
        images = zip(logits.split(1), mask.split(1), strict=True)
        each = [self._sum_of_losses(one, truth) for one, truth in images]
        known = (mask != IGNORE).flatten(1).any(1)  # (B,): other images have nothing to be measured by
        counted = known.sum()
        sums = {key: (torch.stack([one[key] for one in each]) * known).sum() for key in each[0]}
        return {**{key: total / counted.clamp(min=1) for key, total in sums.items()}, "counted": counted}

    def _sum_of_losses(self, logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
        parts = {f"loss_{name}": loss(logits, mask) for name, (loss, _) in self.losses.items()}
        total: Any = sum(weight * parts[f"loss_{name}"] for name, (_, weight) in self.losses.items())
        return {"loss": total, **parts}

    def _check_head(self, logits: Tensor, mask: Tensor) -> None:
        """Raise where the output does not fit the masks; on a GPU the error would not say why."""
        if logits.ndim != 4:
            raise ValueError(f"the net's output has shape {list(logits.shape)}: it must be (B, K, H, W)")
        _check_size("the net's output", logits, mask)
        have, classes = logits.shape[1], self._classes
        if classes and have != classes and not (have == 1 and classes == 2):
            raise ValueError(
                f"the data have {classes} classes, the net's output {have}: "
                "set model.net.num_classes=${data.num_classes}, or 1 for two classes"
            )
        if mask.device.type == "cpu":  # another device would have to be waited for
            top = int(mask.masked_fill(mask == IGNORE, 0).max()) if mask.numel() else 0
            if top >= max(have, 2):
                raise ValueError(
                    f"a mask has the value {top}, the net's output {have} channels: "
                    f"correct the masks or data.num_classes"
                )


def balanced_weights(train: Any, *, num_classes: int) -> list[float]:
    """Return N / (K n_k) of each class from up to 512 training masks, 0 for a class without a pixel."""
    places = np.unique(np.linspace(0, len(train) - 1, min(len(train), MASKS)).astype(int))
    counts = np.zeros(num_classes)
    for place in places:
        counts += np.bincount(train.load(int(place))["mask"].ravel(), minlength=256)[:num_classes]
    if not counts.sum():
        raise ValueError("class_weights=balanced: every pixel of the training masks is ignored")
    return [float(counts.sum() / (num_classes * n)) if n else 0.0 for n in counts]


def _check_size(name: str, pixels: Tensor, mask: Tensor) -> None:
    if pixels.shape[-2:] != mask.shape[-2:]:
        (h, w), (height, width) = pixels.shape[-2:], mask.shape[-2:]
        raise ValueError(f"{name} is {h}×{w}, the mask {height}×{width}: both must have one size")
