"""Localisation: one label and one box per image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fovea.ops.losses import cross_entropy
from fovea.ops.weighted import in_use
from fovea.tasks.base import Task
from fovea.types import Batch, Output

Loss = Callable[[Tensor, Tensor], Tensor]  # boxes (B, 4), true boxes (B, 4) → (B,)


class Localization(Task):
    """Minimise the cross-entropy of the label and a weighted sum of losses of the box.

    The net gives (B, K + 4), logits and box; boxes are shares of the width and the height. An image without a
    box, or whose augmentation has cut it off, trains its label alone, its loss of the box is 0; of several
    boxes of that label the largest counts.

    Args:
        losses: of the box, each with a `weight`; one that is None or has weight 0 is left out.
        label_weight: of the cross-entropy in the sum.
        label_smoothing: share of the target that is spread over all classes, in training only.
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        losses: Mapping[str, Loss | None],
        label_weight: float = 1.0,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(net=net, **kwargs)
        if not label_weight >= 0 or not 0 <= label_smoothing < 1:
            raise ValueError(
                f"task.label_weight={label_weight} must be at least 0, "
                f"task.label_smoothing={label_smoothing} in 0…1, below 1"
            )
        self.losses = in_use(losses, key="task.losses")
        self.label_weight, self.label_smoothing = label_weight, label_smoothing

    def step(self, batch: Batch) -> Output:
        """Return the losses, what the net gave (B, K + 4), and label and box of each image (B, 5)."""
        image, target = batch["image"], truth(batch)
        output = self(image)
        self._check(output)
        output = output.float()
        logits, boxes = output[:, :-4], output[:, -4:]
        known = target[:, 1:].isfinite().all(dim=1)
        true = torch.where(known[:, None], target[:, 1:], 0.0)
        smoothing = self.label_smoothing if self.training else 0.0
        parts = {"loss_label": cross_entropy(logits, target[:, 0].long(), smoothing=smoothing)}
        for name, (loss, _) in self.losses.items():
            parts[f"loss_{name}"] = (loss(boxes, true) * known).mean()
        weighted = [weight * parts[f"loss_{name}"] for name, (_, weight) in self.losses.items()]
        total = torch.stack([self.label_weight * parts["loss_label"], *weighted]).sum()
        return {"loss": total, **parts, "preds": output.detach(), "target": target}  # type: ignore[typeddict-item]

    def _check(self, output: Any) -> None:
        classes = getattr(getattr(self.trainer, "datamodule", None), "num_classes", None)
        if isinstance(output, Tensor) and output.ndim == 2 and output.shape[1] == (classes or 1) + 4:
            return
        shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"the net's output is {shape}, but task=localization needs {classes} logits and 4 numbers of "
            "a box for each image: choose model=localizer"
        )


def truth(batch: Batch) -> Tensor:
    """Return label and box (B, 5) of each image: x1 y1 x2 y2 as shares of its sides, NaN without a box."""
    if "label" not in batch or "boxes" not in batch:
        raise ValueError(
            "task=localization needs a label and a box for each image: choose data that have both, such as "
            "data=caltech3, or set data.targets=[label,boxes]"
        )
    height, width = batch["image"].shape[2:]
    marked: Sequence[Tensor | None] = batch.get("labels") or [None] * len(batch["boxes"])
    chosen = [
        _of_label(boxes, labels, label)
        for boxes, labels, label in zip(batch["boxes"], marked, batch["label"], strict=True)
    ]
    shares = torch.stack(chosen) / chosen[0].new_tensor([width, height, width, height])
    return torch.cat([batch["label"][:, None].to(shares.dtype), shares], dim=1)


def _of_label(boxes: Tensor, labels: Tensor | None, label: Tensor) -> Tensor:
    """Return the largest box (4,) of this label, NaN where there is none."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    if labels is not None:
        areas = torch.where(labels == label, areas, 0.0)
    # no boxes at all: the NaN that is appended is the largest
    best = torch.cat([areas, areas.new_full((1,), 1e-9)]).argmax()
    return torch.cat([boxes, boxes.new_full((1, 4), float("nan"))])[best]
