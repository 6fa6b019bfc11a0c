"""Compare predicted class maps with the ground truth."""

from __future__ import annotations

import torch
from torch import Tensor

BAND = 2**22  # pixels that are counted at a time, so that a large photo takes no multiple of its size


def class_map(logits: Tensor) -> Tensor:
    """Return the most probable class (B, H, W) int64 of logits (B, K, H, W); K = 1 is class 1 of two."""
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).long()
    return logits.max(dim=1).indices  # several times faster on a CPU than argmax, which is the same


def confusion(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Count pixels (B, K, K) int64 for each image: row = class in `target`, column = class in `preds`.

    Both are class maps (B, H, W); pixels that are 255 in `target` are left out.
    """
    parts = zip(in_bands(preds), in_bands(target), strict=True)
    counts = [_confusion(some, true, num_classes) for some, true in parts]
    return counts[0] if len(counts) == 1 else torch.stack(counts).sum(0)


def in_bands(maps: Tensor) -> tuple[Tensor, ...]:
    """Split maps (B, H, …) into parts of a few rows each where they are large."""
    return maps.split(max(1, BAND // max(1, maps[:, :1].numel())), dim=1)


def _confusion(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    size, k = len(target), num_classes
    image = torch.arange(size, device=target.device, dtype=torch.int32).view(size, *[1] * (target.ndim - 1))
    row = target.to(torch.int32).clamp(max=k)  # one row more, for what is ignored
    place = (image * (k + 1) + row) * k + preds.to(torch.int32)
    counts = torch.bincount(place.flatten(), minlength=size * (k + 1) * k)
    return counts.view(size, k + 1, k)[:, :k]


def iou_per_class(confusion: Tensor) -> Tensor:
    """Return TP / (TP + FP + FN) (…, K) of counts (…, K, K); NaN where truth and prediction lack it."""
    right, truth, found = _counts(confusion)
    return right / (truth + found - right)


def dice_per_class(confusion: Tensor) -> Tensor:
    """Return 2 TP / (2 TP + FP + FN) (…, K) of counts (…, K, K); NaN where truth and prediction lack it."""
    right, truth, found = _counts(confusion)
    return 2 * right / (truth + found)


def pixel_accuracy(confusion: Tensor) -> Tensor:
    """Return the share (…) of correct pixels, of counts (…, K, K); NaN where all are ignored."""
    return confusion.diagonal(dim1=-2, dim2=-1).sum(-1) / confusion.sum((-2, -1))


def _counts(confusion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return confusion.diagonal(dim1=-2, dim2=-1), confusion.sum(-1), confusion.sum(-2)
