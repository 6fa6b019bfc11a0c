"""Rebuild an image from its features: what a layer still knows of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fovea.explain.core.hooks import record
from fovea.explain.core.method import explaining
from fovea.explain.core.pixels import Pixels, alpha_norm, moments, total_variation


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """Hold the pictures kept on the way.

    Attributes:
        pictures: (T, B, C, H, W) in 0…1.
        iterations: the T iterations, the first 0.
        distance: (T, B), |f - f₀|² / |f₀|² between the features of picture and original.
    """

    pictures: Tensor
    iterations: list[int]
    distance: Tensor


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """Minimise |f(x) - f₀|² / |f₀|² + alpha_weight R_α(x) + tv_weight R_V(x), starting from noise.

    Mahendran & Vedaldi 2015, https://arxiv.org/abs/1412.0035, eqs. 1 to 4; both penalties are means over the
    normalised image x. Adam takes the place of momentum, its rate falls to zero along a cosine, and pictures
    stay within 0…1.

    Args:
        lr: of Adam, in units of the normalised image.
        alpha, beta: the powers of the norm and of the total variation.
        noise: standard deviation of the start around the mean image.
        keep: how many pictures are kept, evenly over the iterations.
    """

    steps: int = 300
    lr: float = 0.05
    alpha: float = 6.0
    alpha_weight: float = 1e-5
    beta: float = 2.0
    tv_weight: float = 1e-2
    noise: float = 0.1
    keep: int = 6
    seed: int = 0

    def penalty(self, image: Tensor) -> Tensor:
        """Weigh how unlike a natural image each of (B, C, H, W) is: (B,)."""
        variation = total_variation(image, self.beta)
        return self.alpha_weight * alpha_norm(image, self.alpha) + self.tv_weight * variation

    def start(self, like: Tensor) -> Tensor:
        """Draw the first image, the same for each of `like` (B, C, H, W)."""
        generator = torch.Generator().manual_seed(self.seed)
        noise = self.noise * torch.randn(1, *like.shape[1:], generator=generator)
        return noise.to(like).expand_as(like)


def invert(
    net: nn.Module, path: str, picture: Tensor, *, pixels: Pixels, inversion: Inversion | None = None
) -> Inverted:
    """Look for pictures whose output of the module `path` is that of `picture` (B, C, H, W) in 0…1."""
    inversion = inversion or Inversion()
    with explaining(net), record(net, path) as tapped:
        picture = pixels.check(picture)

        def features(image: Tensor) -> Tensor:
            net(image)
            return tapped[path].flatten(1)  # (B, D)

        with torch.no_grad():
            wanted = features(pixels.encode(picture)).detach().clone()

        def distance(image: Tensor) -> Tensor:
            scale = wanted.square().sum(dim=1).clamp(min=torch.finfo(wanted.dtype).tiny)
            return (features(image.clone()) - wanted).square().sum(dim=1) / scale

        return _descend(distance, inversion.start(picture), pixels, inversion)


def _descend(
    distance: Callable[[Tensor], Tensor], image: Tensor, pixels: Pixels, inversion: Inversion
) -> Inverted:
    image = pixels.clip(image).requires_grad_()
    adam = torch.optim.Adam([image], lr=inversion.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, inversion.steps)
    at, pictures, distances = moments(inversion.steps, inversion.keep), [], []
    for step in range(inversion.steps + 1):
        far = distance(image)
        if step in at:
            pictures.append(pixels.decode(image.detach()).clamp(0, 1))
            distances.append(far.detach())
        if step < inversion.steps:
            (image.grad,) = torch.autograd.grad((far + inversion.penalty(image)).sum(), image)
            adam.step()
            schedule.step()
            with torch.no_grad():
                image.copy_(pixels.clip(image))
    return Inverted(pictures=torch.stack(pictures), iterations=at, distance=torch.stack(distances))
