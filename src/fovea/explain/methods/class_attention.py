"""Map class attention: the attention of the tokens that the head of a transformer reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.explain.analyses.attention.statistics import entropy
from fovea.explain.core.attention import AttentionMaps, capture, precise
from fovea.explain.core.in_place import require_tokens_in_place
from fovea.explain.core.method import enlarge, explaining
from fovea.explain.core.targets import Target
from fovea.explain.core.windows import Layout

Fuse = Callable[[Tensor], Tensor]


def mean_heads(weights: Tensor) -> Tensor:
    """Average over heads, (B, heads, ...) to (B, ...)."""
    return weights.mean(dim=1)


def max_heads(weights: Tensor) -> Tensor:
    """Take the maximum over heads, (B, heads, ...) to (B, ...)."""
    return weights.amax(dim=1)


def min_heads(weights: Tensor) -> Tensor:
    """Take the minimum over heads, (B, heads, ...) to (B, ...)."""
    return weights.amin(dim=1)


def discard_heads(weights: Tensor, ratio: float) -> Tensor:
    """Leave out the share `ratio` of heads with the highest entropy in each map.

    (B, heads, n, n) to (B, kept, n, n); at least one head is kept, the others stay in order.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"head_discard_ratio={ratio} must be at least 0 and below 1")
    heads = weights.shape[1]
    kept = max(1, heads - math.floor(ratio * heads))
    if kept == heads:
        return weights
    order = entropy(weights).argsort(dim=1)[:, :kept].sort(dim=1).values  # (B, kept)
    return weights.gather(1, order[:, :, None, None].expand(-1, -1, *weights.shape[2:]))


def readout(net: nn.Module, layout: Layout) -> Tensor:
    """Weigh the tokens by what the head reads of them, (tokens,), in the order of `Layout.index`.

    It is the class token, the mean of class and distillation token, or the mean of the patches where the net
    has no class token or pools; pooling by maximum or by attention counts as the mean.
    """
    owner: Any = next((m for m in net.modules() if getattr(m, "cls_token", None) is not None), None)
    pooled = getattr(owner, "global_pool", "token") not in ("token", "")
    weights = torch.zeros(layout.tokens)
    if owner is None or pooled or not layout.prefix:
        weights[: layout.patches] = 1
    else:
        weights[layout.patches] = 1
        if getattr(owner, "dist_token", None) is not None:
            weights[layout.patches + 1] = 1  # timm averages both heads
    return weights / weights.sum()


def step(row: Tensor, weights: Tensor, layout: Layout) -> Tensor:
    """Multiply rows (B, tokens) by the matrices (B windows, n, n) of one layer; padding has no weight."""
    index = layout.index.to(row.device)
    matrices = layout.split(weights).to(row.dtype)  # (B, windows, n, n)
    parts = F.pad(row, (0, 1))[:, index]  # (B, windows, n)
    with torch.autocast(row.device.type, enabled=False):
        parts = (parts.unsqueeze(-2) @ matrices).squeeze(-2)
    out = row.new_zeros(len(row), layout.tokens + 1)
    return out.index_add(1, index.flatten(), parts.flatten(1))[:, : layout.tokens]


def class_map(net: nn.Module, weights: Tensor, layout: Layout) -> Tensor:
    """Map the attention of the tokens that the head reads, attention head by attention head.

    (B windows, heads, n, n) to (B, heads, h, w). Of a net that averages its tokens this is the attention that
    each patch receives.
    """
    weights = precise(weights)
    images = len(layout.split(weights))
    row = readout(net, layout).to(weights).expand(images, -1)
    rows = [step(row, weights[:, head], layout) for head in range(weights.shape[1])]
    return torch.stack(rows, dim=1)[:, :, : layout.patches].unflatten(2, layout.grid)


def placed(net: nn.Module, maps: AttentionMaps) -> list[str]:
    """List the layers with a known layout, in order.

    Raises:
        ValueError: there is none, or a class token joins only after them and reads the patches by attention
            of its own, as in CaiT, so that they don't show what the head reads.
    """
    name = type(net).__name__
    found = [path for path in maps if path in maps.layouts]
    if not found:
        raise ValueError(
            f"{name} has no attention among patches, or among patches that cannot be placed: use a CAM"
        )
    tokens = maps.layouts[found[-1]].tokens
    if late := [path for path, count in maps.single.items() if count != tokens]:
        raise ValueError(
            f"the class token of {name} joins late and reads the patches by attention of its own "
            f"({late[-1]}), which these methods don't follow: use a CAM"
        )
    return found


class ClassAttention:
    """Show the attention of the class token in one layer, its heads fused; `target` plays no part.

    Args:
        layer: which of the layers, -1 the last.
        fuse: `mean_heads`, `max_heads`, `min_heads` or any function (B, heads, n, n) -> (B, n, n).
        head_discard_ratio: share of heads left out first, see `discard_heads`.
    """

    targeted = False

    def __init__(self, *, layer: int = -1, fuse: Fuse = mean_heads, head_discard_ratio: float = 0.0) -> None:
        self.layer, self.fuse, self.head_discard_ratio = layer, fuse, head_discard_ratio

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Return maps (B, H, W) of the normalised images (B, C, H, W)."""
        with explaining(net), torch.no_grad(), capture(net) as maps:
            net(image)
        require_tokens_in_place(net, image, (first := placed(net, maps)[0]), maps.layouts[first])
        paths = list(maps)
        if not -len(paths) <= self.layer < len(paths):
            raise ValueError(f"layer={self.layer}: the net has {len(paths)} layers of attention")
        path = paths[self.layer]
        if path not in maps.layouts:
            raise ValueError(f"the patches of {path} cannot be placed: choose another layer=, or use a CAM")
        weights = self.fuse(discard_heads(maps[path], self.head_discard_ratio))[:, None]
        return enlarge(class_map(net, weights, maps.layouts[path])[:, 0], (image.shape[2], image.shape[3]))
