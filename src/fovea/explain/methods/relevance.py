"""Explain one class of a transformer by the relevance that gradients and attention carry together."""

from __future__ import annotations

from collections.abc import Sequence

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


def relevance(maps: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
    """Add up the relevance of self-attention layers, R = I, then R + A R from first to last: (B, N, N).

    Chefer et al. (2021), Eq. 1 and 6, https://arxiv.org/abs/2103.15679; the row of the class token, without
    its own column, is the map of the image.

    Args:
        maps: attention of each layer, (B, heads, N, N), first layer first.
        grads: of the score of one class with respect to each.
    """
    if not maps:
        raise ValueError("relevance needs the maps of at least one layer")
    total = torch.eye(maps[0].shape[-1], dtype=maps[0].dtype, device=maps[0].device)
    total = total.expand(len(maps[0]), -1, -1)
    for weights, grad in zip(maps, grads, strict=True):
        total = total + weighted(weights, grad) @ total
    return total


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
