"""Predict the colours a and b themselves."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fovea.ops.precision import at_least_single


class Regression(nn.Module):
    """Compare predicted and true ab (B, 2, H, W) by their mean squared difference, in units of `scale`.

    Baldassarre et al. 2017, "Deep Koalarization", https://arxiv.org/abs/1712.03400, section 3.2.
    """

    def __init__(self, *, channels: int = 2, scale: float = 128.0) -> None:
        super().__init__()
        if channels != 2 or not scale > 0:
            raise ValueError(f"channels={channels}, scale={scale}: a and b are 2 channels, a scale above 0")
        self.channels, self.scale = channels, scale

    def fit(self, ab: Tensor) -> None:
        """Learn nothing from colours (N, 2) of the training images."""

    def loss(self, output: Tensor, ab: Tensor) -> Tensor:
        """Return the mean squared error."""
        return F.mse_loss(at_least_single(output) / self.scale, ab / self.scale)

    def decode(self, output: Tensor) -> Tensor:
        """Return ab (B, 2, H, W), which the output is already."""
        return at_least_single(output)
