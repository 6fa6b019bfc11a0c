"""Suppress duplicates among scored boxes of a batch of images: tensors whose shapes depend on no value.

So a detector is one graph for any images, and other runtimes have an operator for the step that is none.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms


@torch.library.custom_op("fovea::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Return which boxes (B, N, 4) of each image stay (B, N): none that overlaps a more certain one more.

    Boxes with a score of 0 never stay. Greedy non-maximum suppression; it has no gradient.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for of_image, box, score in zip(kept, boxes, scores, strict=True):
        there = score.nonzero()[:, 0]
        of_image[there[nms(box[there], score[there], iou)]] = True
    return kept


@suppress.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def suppressed(
    boxes: Tensor, scores: Tensor, groups: Tensor, *, iou: float, most: int
) -> tuple[Tensor, Tensor]:
    """Return score and position (B, most) of those that stay, the most certain first; score 0 behind them.

    Args:
        boxes: (B, N, 4) x1 y1 x2 y2, none of them negative.
        scores: (B, N), 0 where there is no box.
        groups: (B, N) whole numbers; boxes of different groups, such as classes, never suppress each other.
        iou: overlap above which the less certain box goes.
        most: of each image.
    """
    apart = groups.to(boxes.dtype) * (boxes.amax(dim=(1, 2))[:, None] + 1)  # (B, N) groups side by side
    kept = suppress(boxes + apart[..., None], scores, iou)
    top, order = torch.where(kept, scores, 0.0).topk(min(most, scores.shape[1]), dim=1)
    short = most - top.shape[1]
    return torch.nn.functional.pad(top, (0, short)), torch.nn.functional.pad(order, (0, short))


def rows(values: Tensor, order: Tensor) -> Tensor:
    """Return the rows of values (B, N, D) at the positions (B, n): (B, n, D)."""
    return values.gather(1, order[..., None].expand(-1, -1, values.shape[2]))
