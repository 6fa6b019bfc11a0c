"""Sum scores as whole numbers: neither the order of images nor how processes share them changes a bit."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

FIXED_POINT = 2**32  # units of a score of 1: scores above 1/512 in single precision are whole numbers of them


class ExactMetric(Metric):
    """A metric whose states are sums of whole numbers."""

    is_differentiable = False
    full_state_update = False

    def add_sums(self, *names: str, size: tuple[int, ...] = ()) -> None:
        """Add int64 states that start at 0 and are summed over processes."""
        for name in names:
            self.add_state(name, torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")


def to_fixed(scores: Tensor) -> Tensor:
    """Return scores as int64 units; a power of two keeps single precision exact."""
    return (scores * FIXED_POINT).round().long()


def fixed_mean(total: Tensor, count: Tensor) -> Tensor:
    """Return total / count of units as scores in single precision; NaN where nothing was counted."""
    # by way of double precision, which not every device has
    return (total.cpu().double() / FIXED_POINT / count.cpu()).float().to(total.device)
