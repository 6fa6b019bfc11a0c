"""Transform the annotations of a batch along with its images: boxes, masks, keypoints.

Boxes are flattened over the batch, (M, 4) with `batch_index` (M,), as described in `types.Batch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fovea.types import IGNORE, Batch

VISIBLE = 0.25  # a box that keeps less of its area is dropped
PIXELS = {"mask": IGNORE, "instances": 0}  # and what stands beside the old image
ANNOTATIONS = ("boxes", "keypoints", *PIXELS)


def annotated(batch: Batch) -> bool:
    """Return whether a batch has annotations beyond class labels."""
    return any(key in batch for key in ANNOTATIONS)


def refuse_annotated(batch: Batch, name: str) -> None:
    """Raise ValueError where an augmentation that mixes labels meets boxes, masks or keypoints."""
    found = [key for key in ANNOTATIONS if key in batch]
    if found:
        raise ValueError(
            f"{name} mixes class labels and cannot mix {', '.join(found)}: choose augment=light, or "
            f"data.targets=[label] to train on labels alone"
        )


def transform_annotations(batch: Batch, move: Callable[[Tensor, Tensor], Tensor]) -> Batch:
    """Map the corners of boxes and the keypoints by `move(xy (…, 2), image (…,))`, then cut to the image.

    A box becomes the smallest upright one around its moved corners.
    """
    out: dict[str, Any] = {**batch}
    height, width = batch["image"].shape[-2:]
    limit = torch.tensor([width, height], device=batch["image"].device)
    if "keypoints" in batch:
        points = batch["keypoints"]
        batch_index = torch.arange(len(points), device=points.device)[:, None].expand(points.shape[:2])
        points = move(points, batch_index)
        inside = ((points >= 0) & (points < limit)).all(-1, keepdim=True)
        out["keypoints"] = torch.where(inside, points, torch.nan)
    if "boxes" not in batch:
        return out  # type: ignore[return-value]
    boxes: Any = batch["boxes"]
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].view(-1, 4, 2)  # (M, 4, 2)
    corners = move(corners, batch["batch_index"][:, None].expand(-1, 4))
    low, high = corners.amin(1), corners.amax(1)
    cut_low, cut_high = torch.minimum(low.clamp(min=0), limit), torch.minimum(high.clamp(min=0), limit)
    sides = cut_high - cut_low
    keep = (sides > 0).all(1) & (sides.prod(1) >= VISIBLE * (high - low).prod(1))
    out["boxes"] = torch.cat([cut_low, cut_high], 1)
    return keep_boxes(out, keep)  # type: ignore[arg-type]


def keep_boxes(batch: Batch, keep: Tensor) -> Batch:
    """Keep these boxes (M,), with their classes; instances are renumbered."""
    out: dict[str, Any] = {**batch}
    if "instances" in batch:
        table = _renumbered(batch["batch_index"], keep, len(batch["image"]))
        flat = batch["instances"].long().flatten(1)
        out["instances"] = table.gather(1, flat).view_as(batch["instances"]).to(batch["instances"].dtype)
    for key in ("boxes", "labels", "ignore", "batch_index"):
        if key in batch:
            out[key] = batch[key][keep]
    return out  # type: ignore[return-value]


def _renumbered(batch_index: Tensor, keep: Tensor, size: int) -> Tensor:
    """Return the new number (B, 256) of each old instance: 1 + the row of its box, 0 where that is gone."""
    table = torch.zeros(size, 256, dtype=torch.long, device=batch_index.device)
    table[:, IGNORE] = IGNORE
    old, new = _rank(batch_index, torch.ones_like(keep), size), _rank(batch_index, keep, size)
    numbered = old < IGNORE
    table[batch_index[numbered], old[numbered]] = (new * keep)[numbered]
    return table


def _rank(batch_index: Tensor, keep: Tensor, size: int) -> Tensor:
    """Count the kept boxes of the same image up to and including each (M,)."""
    total = keep.cumsum(0)
    counts = torch.zeros(size, dtype=total.dtype, device=batch_index.device).index_add_(
        0, batch_index, keep.to(total.dtype)
    )
    before = counts.cumsum(0) - counts
    return total - before[batch_index]
