"""Average gradients over noisy copies: Smilkov et al. (2017), https://arxiv.org/abs/1706.03825."""

from __future__ import annotations

import torch
from captum.attr import NoiseTunnel
from captum.attr import Saliency as Gradient
from torch import Tensor, nn

from fovea.explain.core.method import explaining, watch
from fovea.explain.core.targets import Target, pin, take
from fovea.explain.methods.saliency import scorer


class SmoothGrad:
    """Take max_c |mean_n dS/dx(x + noise_n)|: section 2.

    Args:
        samples: noisy copies.
        noise: standard deviation, as part of the image's range max(x) - min(x); the paper takes 0.1 to 0.2.
        batch_size: copies in a pass.
        seed: of the noise; the random state of the caller is left as it was.
    """

    def __init__(
        self, *, samples: int = 50, noise: float = 0.15, batch_size: int = 16, seed: int = 0
    ) -> None:
        if samples < 1 or noise < 0:
            raise ValueError(f"samples={samples}, noise={noise}: take one sample or more, of noise from 0")
        self.samples, self.noise, self.batch_size, self.seed = samples, noise, batch_size, seed

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W), not negative."""
        devices = [image.device] if image.device.type == "cuda" else []
        with explaining(net), torch.random.fork_rng(devices):
            torch.manual_seed(self.seed)
            with torch.no_grad():
                settled = pin(target, net(image))
            maps = [
                self._one(net, one, take(settled, torch.tensor([i], device=image.device)))
                for i, one in enumerate(image.split(1))
            ]
            return torch.cat(maps)

    def _one(self, net: nn.Module, image: Tensor, target: Target) -> Tensor:
        """Map one image (1, C, H, W): the noise is as large as its own range asks."""
        image = watch(image)
        spread = self.noise * float(image.detach().amax() - image.detach().amin())
        mean = NoiseTunnel(Gradient(scorer(net, image, target))).attribute(
            image,
            nt_type="smoothgrad",
            nt_samples=self.samples,
            nt_samples_batch_size=min(self.batch_size, self.samples),
            stdevs=spread,
            abs=False,
        )
        return mean.detach().float().abs().amax(1)
