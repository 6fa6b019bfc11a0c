"""Segmentation: one class per pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from fovea.ops.segmentation import class_map
from fovea.tasks.base import Task
from fovea.types import IGNORE, Batch, Output

Loss = Callable[[Tensor, Tensor], Tensor]  # logits (B, K, H, W), mask (B, H, W) → a number


class Segmentation(Task):
    """Minimise a weighted sum of losses between logits (B, K, H, W) and masks (B, H, W), 255 = ignore.

    For two classes K may be 1, the logit of the second.

    Args:
        losses: each with a `weight`; one that is None or has weight 0 is left out. All are logged.
        metrics: as for every task, of class maps (B, H, W).
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        losses: Mapping[str, Loss | None],
        **kwargs: Any,
    ) -> None:
        super().__init__(net=net, **kwargs)
        self.losses = _used(losses)
        self._classes: int | None = None

    def setup(self, stage: str) -> None:
        """Read the number of classes from the data module."""
        self._classes = getattr(getattr(self.trainer, "datamodule", None), "num_classes", None)

    def step(self, batch: Batch) -> Output:
        """Return the losses, the most probable class of each pixel and the mask."""
        if "mask" not in batch:
            raise ValueError("task=segmentation needs masks: choose other data, or data.targets=[mask]")
        mask = batch["mask"]
        _check_size("the image", batch["image"], mask)
        logits = self(batch["image"])
        self._check_head(logits, mask)
        parts = {f"loss_{name}": loss(logits, mask) for name, (loss, _) in self.losses.items()}
        total = sum(weight * parts[f"loss_{name}"] for name, (_, weight) in self.losses.items())
        preds = class_map(logits.detach())
        return {"loss": total, **parts, "preds": preds, "target": mask}  # type: ignore[typeddict-item]

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


def _check_size(name: str, pixels: Tensor, mask: Tensor) -> None:
    if pixels.shape[-2:] != mask.shape[-2:]:
        (h, w), (height, width) = pixels.shape[-2:], mask.shape[-2:]
        raise ValueError(f"{name} is {h}×{w}, the mask {height}×{width}: both must have one size")


def _used(losses: Mapping[str, Loss | None]) -> dict[str, tuple[Loss, float]]:
    """Return the losses whose weight is not 0, with their weights."""
    weighted = {name: (loss, float(getattr(loss, "weight", 1.0))) for name, loss in losses.items() if loss}
    wrong = {name: weight for name, (_, weight) in weighted.items() if not 0 <= weight < float("inf")}
    if wrong:
        name, weight = next(iter(wrong.items()))
        raise ValueError(f"task.losses.{name}.weight={weight} must be a number of at least 0")
    used = {name: pair for name, pair in weighted.items() if pair[1] > 0}
    if not used:
        raise ValueError("task.losses: every weight is 0; give one, such as task.losses.ce.weight=1")
    return used
