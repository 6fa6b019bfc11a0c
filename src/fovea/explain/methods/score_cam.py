"""Weigh the channels of a layer by the score behind each as a mask: Score-CAM."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.explain.core.method import explaining
from fovea.explain.core.targets import Target, pin, take
from fovea.explain.methods.cam import ActivationMap, Grid


class ScoreCAM(ActivationMap):
    """Mask the image by each channel in turn and weigh the channel by the score; no gradients.

    Wang et al. (2020), https://arxiv.org/abs/1910.01279, equations 5 to 7: weights are the softmax over the
    channels of the scores. The score of the baseline, the same for all, drops out of it. Costs one forward
    pass for each channel.

    Args:
        batch_size: masked images in a pass.
        layer, grid, stretch: see `ActivationMap`.
    """

    def __init__(
        self,
        *,
        layer: str | None = None,
        grid: Grid | None = None,
        stretch: bool = True,
        batch_size: int = 32,
    ) -> None:
        super().__init__(layer=layer, grid=grid, stretch=stretch)
        self.batch_size = batch_size

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W)."""
        with explaining(net), torch.no_grad():
            output, features = self.run(net, image, target)
            settled = pin(target, output)
            features = self.on_grid(net, features, image)  # (B, D, h, w)
            scores = [self._scores(net, image, i, features[i], settled) for i in range(len(image))]
            weights = torch.stack(scores).float().softmax(1)[:, :, None, None]  # (B, D, 1, 1)
            return self.finish((weights * features).sum(1).relu(), image)

    def _scores(self, net: nn.Module, image: Tensor, row: int, channels: Tensor, target: Target) -> Tensor:
        """Score image `row` behind each of the masks (D, h, w): (D,)."""
        found = []
        for some in channels.split(self.batch_size):
            # corners aligned, as in the authors' code
            size = (image.shape[-2], image.shape[-1])
            masks = F.interpolate(some[:, None], size, mode="bilinear", align_corners=True)
            low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
            masked = image[row : row + 1] * (masks - low) / (high - low + 1e-8)  # (n, C, H, W)
            rows = torch.full((len(masked),), row, device=image.device)
            found.append(take(target, rows)(net(masked.to(image))))
        return torch.cat(found)
