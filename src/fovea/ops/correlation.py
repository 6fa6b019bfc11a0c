"""Normalised cross-correlation of images with templates: Lewis, "Fast Normalized Cross-Correlation", 1995."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FLAT = 1e-7  # variance of a window in which nothing is to be seen, of grey values in 0…1


def normalised(windows: Tensor) -> Tensor:
    """Return windows (N, 1, h, w) with mean 0 and length 1, and 0 where nothing is to be seen."""
    centred = windows - windows.mean(dim=(1, 2, 3), keepdim=True)
    variance = centred.square().mean(dim=(1, 2, 3), keepdim=True)
    length = (variance.clamp(min=FLAT) * windows.shape[1:].numel()).sqrt()
    return torch.where(variance > FLAT, centred / length, 0.0)


def correlate(images: Tensor, templates: Tensor) -> Tensor:
    """Return the coefficient in -1…1 of each template with each window: (B, K, H - h + 1, W - w + 1).

    Images are (B, 1, H, W) in 0…1, templates (K, 1, h, w). It is Pearson's coefficient of the grey values of
    the template and of the window, so that neither brightness nor contrast counts.
    """
    images = images - images.mean(dim=(1, 2, 3), keepdim=True)  # for precision alone
    size = (templates.shape[2], templates.shape[3])
    product = F.conv2d(images, normalised(templates))
    mean = F.avg_pool2d(images, size, stride=1)  # (B, 1, H - h + 1, W - w + 1)
    variance = F.avg_pool2d(images.square(), size, stride=1) - mean.square()
    length = (variance.clamp(min=FLAT) * (size[0] * size[1])).sqrt()
    return torch.where(variance > FLAT, product / length, 0.0).clamp(-1, 1)
