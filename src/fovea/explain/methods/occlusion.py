"""Occlude one part of the image at a time: Zeiler & Fergus (2014), arXiv:1311.2901, section 4.2."""

from __future__ import annotations

import torch
from captum.attr import Occlusion as Sliding
from torch import Tensor, nn

from fovea.explain.core.method import explaining
from fovea.explain.core.targets import Target
from fovea.explain.methods.saliency import scorer


class Occlusion:
    """Map each pixel to the mean drop of the score over the squares that cover it.

    Args:
        window: side of the square, in pixels.
        stride: pixels from one square to the next, at most `window`.
        fill: the colour of the square; 0 is the mean colour of normalised images.
        batch_size: covered images in a pass.
    """

    signed = True

    def __init__(self, *, window: int = 16, stride: int = 8, fill: float = 0.0, batch_size: int = 32) -> None:
        if not 1 <= stride <= window:
            raise ValueError(f"window={window}, stride={stride}: a stride is 1 up to the window")
        self.window, self.stride, self.fill, self.batch_size = window, stride, fill, batch_size

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W) in units of the score."""
        if self.window > min(image.shape[-2:]):
            raise ValueError(f"window={self.window} is larger than images of {list(image.shape[-2:])}")
        colours = image.shape[1]
        with explaining(net), torch.no_grad():
            drop = Sliding(scorer(net, image, target)).attribute(
                image,
                sliding_window_shapes=(colours, self.window, self.window),
                strides=(colours, self.stride, self.stride),
                baselines=self.fill,
                perturbations_per_eval=max(self.batch_size // len(image), 1),
            )
        return drop[:, 0].float()  # a square covers all colours, so they share the value
