"""Approximate an outer product in few dimensions: Tensor Sketch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CompactBilinear(nn.Module):
    """Pool two maps (B, C1, h, w) and (B, C2, h, w) to (B, dim), whose inner products estimate the full ones.

    Gao, Beijbom, Zhang & Darrell (2016), https://arxiv.org/abs/1511.06062, algorithm 2 (Pham & Pagh 2013):
    each channel c of a map is added to position h(c) with sign s(c), both drawn once; the count sketch of the
    outer product is the circular convolution of the two, a product after a Fourier transform. The mean over
    positions is taken there, as the transform back is linear.
    """

    def __init__(self, *, channels: tuple[int, int], dim: int, seed: int = 0) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"compact_dim={dim} must be at least 1: the paper takes 8192")
        self.dim = dim
        draw = torch.Generator().manual_seed(seed)
        for i, count in enumerate(channels):
            place = torch.randint(dim, (count,), generator=draw)
            sign = torch.randint(2, (count,), generator=draw) * 2.0 - 1.0
            self.register_buffer(f"place_{i}", place)
            self.register_buffer(f"sign_{i}", sign)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the sketch of the mean outer product (B, dim)."""
        one, two = self._spectrum(a, 0), self._spectrum(b, 1)  # (B, h, w, dim // 2 + 1)
        return torch.fft.irfft((one * two).mean(dim=(1, 2)), n=self.dim)

    def _spectrum(self, x: Tensor, which: int) -> Tensor:
        place, sign = getattr(self, f"place_{which}"), getattr(self, f"sign_{which}")
        signed = x.movedim(1, -1) * sign.to(x.dtype)  # (B, h, w, C)
        sketch = signed.new_zeros(*signed.shape[:-1], self.dim).index_add(-1, place, signed)
        return torch.fft.rfft(sketch)
