"""Follow attention through all layers, from what the head reads back to the image."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.explain.core.attention import AttentionMaps, capture, precise
from fovea.explain.core.in_place import require_tokens_in_place
from fovea.explain.core.method import enlarge, explaining
from fovea.explain.core.targets import ClassScore, Target
from fovea.explain.core.windows import Layout
from fovea.explain.methods.class_attention import Fuse, discard_heads, mean_heads, placed, readout, step


def discard(matrix: Tensor, ratio: float) -> Tensor:
    """Set the share `ratio` of smallest weights of each matrix (B, n, n) to 0."""
    if not 0 <= ratio < 1:
        raise ValueError(f"discard_ratio={ratio} must be at least 0 and below 1")
    flat = matrix.flatten(1)
    lowest = flat.topk(math.floor(ratio * flat.shape[1]), dim=1, largest=False).indices
    return flat.scatter(1, lowest, 0.0).view_as(matrix)


def layer_matrix(fused: Tensor, *, residual: bool = True, discard_ratio: float = 0.0) -> Tensor:
    """Mix what a layer passes on, (B, n, n): A = 0.5 W + 0.5 I, rows normalised to sum to 1 again.

    Abnar and Zuidema (2020), Sec. 3, https://arxiv.org/abs/2005.00928. Without `residual`, A = W.
    """
    matrix = discard(fused, discard_ratio)
    if residual:
        matrix = (matrix + torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)) / 2
    return matrix / matrix.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(matrix.dtype).tiny)


def follow(row: Tensor, layers: Iterable[tuple[Tensor, Layout]]) -> Tensor:
    """Carry rows (B, tokens) through the layers, the last first: (B, tokens) of the first layer.

    This is one row of the product of the matrices, last times ... times first (Abnar and Zuidema 2020,
    Eq. 1), at the cost of vectors; where the grid changes, as in Swin
    and MaxViT, a patch shares its weight among those it was merged from.
    """
    last: Layout | None = None
    for matrix, layout in layers:
        if last is not None:
            row = _share(row, last, layout)
        row, last = step(row, matrix, layout), layout
    return row


def _share(row: Tensor, coarse: Layout, fine: Layout) -> Tensor:
    if coarse.grid == fine.grid and coarse.prefix == fine.prefix:
        return row
    patches = row[:, : coarse.patches]  # (B, h w)
    spread = F.interpolate(patches.unflatten(1, (1, *coarse.grid)), size=fine.grid, mode="nearest").flatten(1)
    tiny = torch.finfo(row.dtype).tiny
    spread = spread * (patches.sum(1, keepdim=True) / spread.sum(1, keepdim=True).clamp_min(tiny))
    prefix = F.pad(row[:, coarse.patches :], (0, fine.prefix))[:, : fine.prefix]
    return torch.cat([spread, prefix], dim=1)


def read(net: nn.Module, maps: AttentionMaps, matrices: dict[str, Tensor]) -> Tensor:
    """Follow what the head reads through the matrices to the patches of the first layer: (B, h, w)."""
    paths = placed(net, maps)
    if lost := [path for path in maps if path not in maps.layouts]:
        raise ValueError(
            f"the patches of {len(lost)} layers of attention of {type(net).__name__} cannot be placed "
            f"({lost[0]}), so that they would be passed over: use class_attention or a CAM"
        )
    last, first = maps.layouts[paths[-1]], maps.layouts[paths[0]]
    images = len(last.split(maps[paths[-1]]))
    start = readout(net, last).to(matrices[paths[-1]]).expand(images, -1)
    end = follow(start, ((matrices[path], maps.layouts[path]) for path in reversed(paths)))
    return end[:, : first.patches].unflatten(1, first.grid)


class Rollout:
    """Show attention rollout of what the head reads; `target` plays no part.

    Abnar and Zuidema (2020), https://arxiv.org/abs/2005.00928.

    Args:
        fuse: how heads become one map, `mean_heads`, `max_heads` or `min_heads` of `class_attention`.
        residual: count the skip connections as an equal share.
        discard_ratio: share of smallest weights of each fused map set to 0.
        head_discard_ratio: share of heads left out first, see `discard_heads`.
    """

    targeted = False

    def __init__(
        self,
        *,
        fuse: Fuse = mean_heads,
        residual: bool = True,
        discard_ratio: float = 0.0,
        head_discard_ratio: float = 0.0,
    ) -> None:
        self.fuse, self.residual = fuse, residual
        self.discard_ratio, self.head_discard_ratio = discard_ratio, head_discard_ratio

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Return maps (B, H, W) of the normalised images (B, C, H, W)."""
        with explaining(net), torch.no_grad(), capture(net) as maps:
            net(image)
        matrices = {
            path: layer_matrix(
                self.fuse(discard_heads(precise(weights), self.head_discard_ratio)),
                residual=self.residual,
                discard_ratio=self.discard_ratio,
            )
            for path, weights in maps.items()
        }
        found = read(net, maps, matrices)
        require_tokens_in_place(net, image, (first := placed(net, maps)[0]), maps.layouts[first])
        return enlarge(found, (image.shape[2], image.shape[3]))


def with_gradients(
    net: nn.Module, image: Tensor, target: Target | None
) -> tuple[AttentionMaps, dict[str, Tensor]]:
    """Run the net and give its maps, and the gradient of the target's score with respect to each."""
    with explaining(net), capture(net) as maps:
        score = (target or ClassScore())(net(image.clone())).sum()  # a tensor of inference mode has no graph
        first = placed(net, maps)[0]
        own = dict(maps)  # with activation checkpoints the backward pass computes and replaces them
        found = torch.autograd.grad(score, list(own.values()), allow_unused=True, materialize_grads=True)
    require_tokens_in_place(net, image, first, maps.layouts[first])
    maps.clear()
    maps.update({path: precise(weights.detach()) for path, weights in own.items()})
    return maps, {path: precise(grad) for path, grad in zip(own, found, strict=True)}


class GradientRollout:
    """Show rollout with each map weighted by its gradient, so that it explains the target.

    A layer's matrix is ReLU(mean over heads of A * dy/dA), then as in `Rollout`; the weighting follows Chefer
    et al. (2021), Eq. 13, https://arxiv.org/abs/2012.09838, with A in place of its relevance.

    Args:
        residual: count the skip connections.
        discard_ratio: share of smallest weights of each map set to 0.
    """

    def __init__(self, *, residual: bool = True, discard_ratio: float = 0.0) -> None:
        self.residual, self.discard_ratio = residual, discard_ratio

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Return maps (B, H, W) of the normalised images (B, C, H, W)."""
        maps, grads = with_gradients(net, image, target)
        matrices = {
            path: layer_matrix(
                mean_heads(weights * grads[path]).relu(),
                residual=self.residual,
                discard_ratio=self.discard_ratio,
            )
            for path, weights in maps.items()
        }
        return enlarge(read(net, maps, matrices), (image.shape[2], image.shape[3]))
