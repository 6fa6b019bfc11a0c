"""The Lovász extension of the Jaccard loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fovea.ops.precision import at_least_single
from fovea.types import IGNORE


def lovasz(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the Lovász loss of logits (B, K, H, W) for a mask (B, H, W) int64, 255 = ignore.

    Berman et al. (2018), https://arxiv.org/abs/1705.08790: the Lovász-softmax, as the mean over the classes
    that the mask shows; with one logit the Lovász hinge of class 1, 0 where the mask shows none. All pixels
    of the batch make one set.
    """
    known = mask != IGNORE
    truth, logits = mask[known], at_least_single(logits)
    if logits.shape[1] == 1:
        score = logits[:, 0][known]
        sign = 2 * (truth == 1).to(score.dtype) - 1
        losses = [_extension(F.relu(1 - score * sign), truth == 1)] if bool((truth == 1).any()) else []
    else:
        probs = logits.softmax(dim=1).movedim(1, 0)[:, known]  # (K, pixels)
        shown = torch.bincount(truth, minlength=len(probs)).nonzero().flatten().tolist()
        losses = [_extension((probs[c] - (truth == c).to(probs.dtype)).abs(), truth == c) for c in shown]
    return torch.stack(losses).mean() if losses else (logits * 0).sum()  # with a graph, so that 0 has slope 0


def _extension(errors: Tensor, inside: Tensor) -> Tensor:
    """Return the extension of 1 - Jaccard at `errors` (P,), with `inside` (P,) the pixels of the class.

    Algorithm 1 of the paper. The difference of one Jaccard loss and the next is written out, 1 / U for a
    pixel of the class and I / (U (U - 1)) beside it: subtracted, the two would cancel for large images.
    """
    errors, order = errors.sort(descending=True)
    hit = inside[order]
    count = hit.cumsum(0)  # whole numbers, exact
    left = (count[-1] - count).to(errors.dtype)  # I: pixels of the class still right
    union = (count[-1] + (~hit).cumsum(0)).to(errors.dtype)
    slope = torch.where(hit, 1 / union, left / (union * (union - 1).clamp(min=1)))
    return (errors * slope).sum()


@dataclass(frozen=True, kw_only=True)
class Lovasz:
    """The Lovász loss with its weight in a sum of losses."""

    weight: float = 1.0

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the loss."""
        return lovasz(logits, mask)
