"""Match the detections of a batch of images with their true boxes, on any device.

Detections are (B, D, 6): x1 y1 x2 y2, score, class, the most certain first; score 0 stands for none. True
boxes are (B, M, 6): x1 y1 x2 y2, class, 1 where it is to be ignored; NaN stands for none.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou


class Counts(NamedTuple):
    """How the detections of each image met its objects (B,)."""

    right: Tensor
    wrong: Tensor
    missed: Tensor

    @property
    def f1(self) -> Tensor:
        """Return 2 TP / (2 TP + FP + FN), 1 where there is nothing to find and nothing was found (B,)."""
        total = 2 * self.right + self.wrong + self.missed
        return torch.where(total > 0, 2 * self.right / total.clamp(min=1), torch.ones_like(total)).float()


def match(found: Tensor, true: Tensor, *, threshold: float, iou: float) -> Counts:
    """Count hits: the most certain detection takes the free object of its class that it overlaps most.

    Detections below the threshold are left out; what meets an object to be ignored does not count.
    """
    there = ~true[..., 4].isnan()  # (B, M)
    ignored = there & (true[..., 5] > 0)
    kept = found[..., 4] >= max(threshold, 1e-9)  # (B, D)
    overlap = torch.stack(
        [box_iou(f[:, :4], t[:, :4].nan_to_num()) for f, t in zip(found, true, strict=True)]
    )
    alike = found[..., 5][:, :, None] == true[..., 4][:, None]
    overlap = torch.where(alike & there[:, None] & kept[..., None], overlap, 0.0)  # (B, D, M)
    free, met = there.clone(), torch.zeros_like(kept)
    right = torch.zeros_like(kept)
    for d in range(found.shape[1]) if true.shape[1] else ():
        best, at = torch.where(free | ignored, overlap[:, d], -1.0).max(dim=1)
        hit, passed = best >= iou, ignored.gather(1, at[:, None])[:, 0]
        met[:, d], right[:, d] = hit, hit & ~passed
        free = free & ~(
            (hit & ~passed)[:, None] & (torch.arange(true.shape[1], device=at.device) == at[:, None])
        )
    wanted = (there & ~ignored).sum(dim=1)
    hits = right.sum(dim=1)
    return Counts(hits, (kept & ~met).sum(dim=1), wanted - hits)


def padded(boxes: list[Tensor], labels: list[Tensor], ignore: list[Tensor] | None) -> Tensor:
    """Pack the true boxes of images into (B, M, 6), NaN behind them."""
    most = max((len(one) for one in boxes), default=0)
    out = boxes[0].new_full((len(boxes), most, 6), float("nan"))
    for i, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        out[i, : len(box), :4], out[i, : len(box), 4] = box, label.to(out.dtype)
        out[i, : len(box), 5] = 0.0 if ignore is None else ignore[i].to(out.dtype)
    return out
