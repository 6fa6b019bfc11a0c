"""Losses between one predicted and one true box of each image, as shares of its width and height.

Boxes are (B, 4), x1 y1 x2 y2 in 0…1. Each loss returns (B,), one number an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, generalized_box_iou_loss


def ordered(boxes: Tensor) -> Tensor:
    """Swap corners (…, 4) of boxes that a net has turned inside out, so that x1 <= x2 and y1 <= y2."""
    first, second = boxes[..., :2], boxes[..., 2:]
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=-1)


def iou(boxes: Tensor, true: Tensor) -> Tensor:
    """Return the intersection over union (…) of boxes (…, 4), 0 where both are empty."""
    sides = torch.minimum(boxes[..., 2:], true[..., 2:]) - torch.maximum(boxes[..., :2], true[..., :2])
    shared = sides.clamp(min=0).prod(dim=-1)
    whole = (
        (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1) + (true[..., 2:] - true[..., :2]).prod(dim=-1) - shared
    )
    return torch.where(whole > 0, shared / whole.clamp(min=torch.finfo(whole.dtype).tiny), 0.0)


@dataclass(frozen=True)
class MSE:
    """The mean of the squared differences of the four numbers."""

    weight: float = 1.0

    def __call__(self, boxes: Tensor, true: Tensor) -> Tensor:
        """Compare boxes (B, 4)."""
        return (boxes - true).square().mean(dim=1)


@dataclass(frozen=True)
class L1:
    """The mean of the absolute differences of the four numbers."""

    weight: float = 1.0

    def __call__(self, boxes: Tensor, true: Tensor) -> Tensor:
        """Compare boxes (B, 4)."""
        return (boxes - true).abs().mean(dim=1)


@dataclass(frozen=True)
class GIoU:
    """1 - IoU, and more for boxes that are apart: Rezatofighi et al. (2019), https://arxiv.org/abs/1902.09630."""

    weight: float = 1.0

    def __call__(self, boxes: Tensor, true: Tensor) -> Tensor:
        """Compare boxes (B, 4)."""
        return generalized_box_iou_loss(ordered(boxes), true)


@dataclass(frozen=True)
class CIoU:
    """1 - IoU, the distance of the centres and another aspect: Zheng et al. (2020), https://arxiv.org/abs/1911.08287."""

    weight: float = 1.0

    def __call__(self, boxes: Tensor, true: Tensor) -> Tensor:
        """Compare boxes (B, 4)."""
        return complete_box_iou_loss(ordered(boxes), true)
