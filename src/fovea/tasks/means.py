"""Average losses over samples, exactly, across uneven batches and processes."""

from __future__ import annotations

import torch
from torch import Tensor


class Means:
    """Weighted running means kept on the device, so that a step never waits for them."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, int] = {}

    def update(self, values: dict[str, Tensor], *, weight: int) -> None:
        """Add scalar `values`, each the mean of `weight` samples."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.double() * weight
            self._weights[name] = self._weights.get(name, 0) + weight

    def compute(self, device: torch.device) -> dict[str, Tensor]:
        """Return the means over all processes, and start anew."""
        names = sorted(self._sums)
        if not names:
            return {}
        dtype = torch.float32 if device.type == "mps" else torch.float64
        total = torch.stack([self._sums[n].to(device, dtype) for n in names])
        weight = torch.tensor([self._weights[n] for n in names], device=device, dtype=dtype)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(total)
            torch.distributed.all_reduce(weight)
        self._sums, self._weights = {}, {}
        return dict(zip(names, (total / weight).float(), strict=True))
