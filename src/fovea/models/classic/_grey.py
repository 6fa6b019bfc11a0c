"""Take images back to grey values, which the methods of before 2012 are defined on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LUMA = (0.299, 0.587, 0.114)  # BT.601, of red, green and blue


class Grey(nn.Module):
    """Map normalised images (B, 3 or 1, H, W) to their luma (B, 1, H, W) in 0…1.

    Args:
        mean, std: by which the images were normalised; null: they are in 0…1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean or [0.0]).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std or [1.0]).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the grey images."""
        x = x.float() * self.std + self.mean
        if x.shape[1] == 1:
            return x
        if x.shape[1] != len(LUMA):
            raise ValueError(
                f"images have {x.shape[1]} channels, grey is made of 3 or 1: set data.channels=3"
            )
        return (x * x.new_tensor(LUMA).view(1, -1, 1, 1)).sum(dim=1, keepdim=True)
