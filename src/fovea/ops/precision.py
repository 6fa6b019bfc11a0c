"""Compute in single precision at least, also under autocast."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """Convert half precision to single, and leave single and double as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
