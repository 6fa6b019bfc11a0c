"""Integrate gradients from a baseline: Sundararajan et al. (2017), https://arxiv.org/abs/1703.01365."""

from __future__ import annotations

from captum.attr import IntegratedGradients as Integral
from torch import Tensor, nn

from fovea.explain.core.method import explaining, watch
from fovea.explain.core.targets import Target
from fovea.explain.methods.saliency import scorer


class IntegratedGradients:
    """Sum (x - x') ∫ dS/dx(x' + a (x - x')) da over the colours: equation 1, by Gauss-Legendre quadrature.

    Completeness: each map sums to S(x) - S(x'), up to the quadrature; for more exact sums take more steps.

    Args:
        baseline: x', a number or an image (1, C, H, W) or (B, C, H, W); 0 is the mean colour of normalised
            images.
        steps: points on the way.
        batch_size: images in a pass, at least as many as are explained at once.
    """

    signed = True

    def __init__(self, *, baseline: float | Tensor = 0.0, steps: int = 50, batch_size: int = 32) -> None:
        if steps < 1:
            raise ValueError(f"steps={steps}: take one or more")
        self.baseline, self.steps, self.batch_size = baseline, steps, batch_size

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W), with sign."""
        with explaining(net):
            image = watch(image)
            baseline = self.baseline
            if isinstance(baseline, Tensor):
                baseline = baseline.to(image).expand_as(image)
            found = Integral(scorer(net, image, target)).attribute(
                image,
                baselines=baseline,
                n_steps=self.steps,
                internal_batch_size=max(self.batch_size, len(image)),
            )
            return found.detach().float().sum(1)
