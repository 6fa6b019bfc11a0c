"""Explain one class of a transformer by relevance, from gradients and attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fovea.explain.core.method import enlarge
from fovea.explain.core.targets import Target
from fovea.explain.methods.rollout import read, with_gradients


def weighted(weights: Tensor, grads: Tensor) -> Tensor:
    """Average over heads what raises the score: mean_h (dy/dA * A)^+, (B, heads, n, n) to (B, n, n).

    Chefer et al. (2021), Eq. 5, https://arxiv.org/abs/2103.15679.
    """
    return (weights * grads).clamp_min(0).mean(dim=1)


class Relevance:
    """Show the relevance of each patch to the target, Chefer et al. (2021), https://arxiv.org/abs/2103.15679.

    The start R = I is taken off the result: it says that a token is relevant to itself, which matters only in
    nets that average their patches. Swin and MaxViT are followed window by window, a patch that was merged
    sharing its relevance; their convolutions are passed over.
    """

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Return maps (B, H, W) of the normalised images (B, C, H, W)."""
        maps, grads = with_gradients(net, image, target)
        eyes = {p: torch.eye(w.shape[-1], dtype=w.dtype, device=w.device) for p, w in maps.items()}
        matrices = {p: eyes[p] + weighted(w, grads[p]) for p, w in maps.items()}
        start = read(net, maps, {p: eyes[p].expand(len(w), -1, -1) for p, w in maps.items()})
        return enlarge(read(net, maps, matrices) - start, (image.shape[2], image.shape[3]))
