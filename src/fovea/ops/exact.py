"""Sum scores as whole numbers: neither the order of images nor how processes share them changes a bit."""

from __future__ import annotations

from torch import Tensor

FIXED_POINT = 2**32  # units of a score of 1: scores above 1/512 in single precision are whole numbers of them


def to_fixed(scores: Tensor) -> Tensor:
    """Return scores as int64 units; a power of two keeps single precision exact."""
    return (scores * FIXED_POINT).round().long()


def fixed_mean(total: Tensor, count: Tensor) -> Tensor:
    """Return total / count of units as scores in single precision; NaN where nothing was counted."""
    # by way of double precision, which not every device has
    return (total.cpu().double() / FIXED_POINT / count.cpu()).float().to(total.device)
