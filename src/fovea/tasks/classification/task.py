"""Classification: one label per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fovea.ops import tta as views
from fovea.ops.losses import balanced_weights, cross_entropy
from fovea.tasks.base import Task
from fovea.types import Batch, Output


class Classification(Task):
    """Minimise the cross-entropy between logits (B, num_classes) and labels.

    Labels are class indices (B,), or probabilities (B, num_classes) after mixup and cutmix.

    Args:
        label_smoothing: share of the target that is spread over all classes, in training only.
        class_weights: a factor per class, or "balanced": N / (C n_c), from the training images.
        tta: views of an image over which probabilities are averaged, except in training; see `ops.tta`.
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | str | None = None,
        tta: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(net=net, **kwargs)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"task.label_smoothing is {label_smoothing}; it must lie in [0, 1)")
        self.label_smoothing, self.tta = label_smoothing, views.check_views(tta)
        self._classes: int | None = None
        self.balanced = class_weights == "balanced"
        weights = None if class_weights is None or self.balanced else _weights(class_weights, net)
        self.register_buffer("class_weights", weights, persistent=False)
        self.class_weights: Tensor | None

    def setup(self, stage: str) -> None:
        """Read the number of classes from the data module, and balanced class weights where asked for."""
        datamodule = getattr(self.trainer, "datamodule", None)
        self._classes = getattr(datamodule, "num_classes", None)
        if self.balanced:
            train = getattr(datamodule, "train", None)
            labels = getattr(train, "labels", None)
            if train is None or labels is None:
                raise ValueError(
                    "task.class_weights=balanced needs labelled training images: give a list instead"
                )
            weights = balanced_weights(torch.as_tensor(labels), num_classes=len(train.classes))
            self.class_weights = weights.float().to(self.device)

    def step(self, batch: Batch) -> Output:
        """Return the loss, the logits and the label of each image."""
        logits, label = self._logits(batch["image"]), batch["label"]
        self._check_head(logits, label)
        logits = logits.to(
            torch.promote_types(logits.dtype, torch.float32)
        )  # half precision would round the loss
        soft = label.to(logits.dtype) if label.ndim == 2 else label
        weight = None if self.class_weights is None else self.class_weights.to(logits.dtype)
        smoothing = self.label_smoothing if self.training else 0.0
        loss = cross_entropy(logits, soft, weight=weight, smoothing=smoothing)
        target = label if label.ndim == 1 else label.argmax(dim=1)
        return {"loss": loss, "preds": logits.detach().float(), "target": target}

    def _logits(self, image: Tensor) -> Tensor:
        if self.training or not self.tta:
            return self(image)
        return views.average(self, image, self.tta)

    def _check_head(self, logits: Tensor, label: Tensor) -> None:
        """Raise where the head has another number of classes; on a GPU the error would not say why."""
        classes = label.shape[1] if label.ndim == 2 else self._classes
        if own := getattr(self.net, "task", None):
            raise ValueError(
                f"a {type(self.net).__name__} gives more than classes: choose another model=, or task={own} "
                "with data that have boxes"
            )
        if not isinstance(logits, Tensor):
            raise ValueError(
                f"the net gives a {type(logits).__name__}, but classification needs one tensor, with a "
                "number for each class: choose another model="
            )
        if logits.ndim != 2 or (classes and logits.shape[1] != classes):
            if logits.ndim == 4:
                raise ValueError(
                    f"the net answers each pixel (its output is {list(logits.shape)}), but classification "
                    "is about whole images: choose another model=, or task=segmentation with masks"
                )
            have = f"one of {logits.shape[1]} classes" if logits.ndim == 2 else f"shape {list(logits.shape)}"
            raise ValueError(
                f"the data have {classes} classes, the net's output is {have}: "
                "set model.net.num_classes=${data.num_classes}, and no other head"
            )


def _weights(given: Sequence[float] | str, net: nn.Module) -> Tensor:
    if isinstance(given, str):
        raise ValueError(f"task.class_weights={given!r} must be balanced, a list of numbers, or null")
    weights, classes = torch.tensor(list(given), dtype=torch.float32), getattr(net, "num_classes", None)
    if isinstance(classes, int) and len(weights) != classes:
        raise ValueError(f"task.class_weights has {len(weights)} numbers, the net {classes} classes")
    if not bool((weights >= 0).all()) or not bool(weights.isfinite().all()) or not bool(weights.sum() > 0):
        raise ValueError(f"task.class_weights={list(given)} must be numbers of at least 0, not all 0")
    return weights
