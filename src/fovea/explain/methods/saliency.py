"""Saliency: the gradient of the score in each pixel, and the gradient times the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from captum.attr import InputXGradient
from captum.attr import Saliency as Gradient
from torch import Tensor, nn

from fovea.explain.core.method import explaining, watch
from fovea.explain.core.targets import Target, pin, tile


def scorer(net: nn.Module, image: Tensor, target: Target | None) -> Callable[[Tensor], Tensor]:
    """Return a function of images to scores (B,) of the class that `target` selects for `image`.

    Batches that hold the images several times, one whole round after another, are scored too.
    """
    with torch.no_grad():
        settled = pin(target, net(image))

    def score(images: Tensor) -> Tensor:
        tiled = tile(settled, batch=len(image), length=len(images), device=images.device)
        return tiled(net(images.to(image)))  # noise makes full precision of half

    return score


class Saliency:
    """Take the largest absolute gradient over the colours: M_ij = max_c |dS/dx_cij|.

    Simonyan et al. (2014), https://arxiv.org/abs/1312.6034, section 3.1.
    """

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W), not negative."""
        with explaining(net):
            image = watch(image)
            return Gradient(scorer(net, image, target)).attribute(image, abs=True).detach().float().amax(1)


class InputTimesGradient:
    """Sum x_c dS/dx_c over the colours, with its sign.

    Shrikumar et al. (2016), https://arxiv.org/abs/1605.01713, section 3. Of a net of ReLUs without biases
    the map sums to the score.
    """

    signed = True

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W)."""
        with explaining(net):
            image = watch(image)
            return InputXGradient(scorer(net, image, target)).attribute(image).detach().float().sum(1)
