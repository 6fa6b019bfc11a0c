"""Classification: one label per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from fovea.tasks.base import Task
from fovea.types import Batch, Output


class Classification(Task):
    """Minimise the cross-entropy between logits (B, num_classes) and labels.

    Labels are class indices (B,), or probabilities (B, num_classes) after mixup and cutmix.
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"task.label_smoothing is {label_smoothing}; it must lie in [0, 1)")
        self.label_smoothing = label_smoothing
        weights = None if class_weights is None else torch.tensor(list(class_weights), dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)
        self.class_weights: torch.Tensor | None

    def step(self, batch: Batch) -> Output:
        """Return the loss, the logits and the label of each image."""
        logits, label = self(batch["image"]), batch["label"]
        logits = logits.to(
            torch.promote_types(logits.dtype, torch.float32)
        )  # half precision would round the loss
        soft = label.to(logits.dtype) if label.ndim == 2 else label
        weight = None if self.class_weights is None else self.class_weights.to(logits.dtype)
        smoothing = self.label_smoothing if self.training else 0.0
        loss = F.cross_entropy(logits, soft, weight=weight, label_smoothing=smoothing)
        target = label if label.ndim == 1 else label.argmax(dim=1)
        return {"loss": loss, "preds": logits.detach().float(), "target": target}
