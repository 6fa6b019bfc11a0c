"""Draw the weights of a net anew, layer by layer, and see whether maps notice."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fovea.explain.core.method import Method, explaining
from fovea.explain.core.targets import Target, pin


def cascade(net: nn.Module, *, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Draw the layers anew from the top down; yield each layer's path and a copy of the net as it is then.

    Adebayo et al. (2018), https://arxiv.org/abs/1810.03292, section 3: cascading randomisation. Each tensor
    is drawn from the normal distribution with its own mean and standard deviation, so that signals neither
    die nor burst on their way through deep nets and the shape of a map is all that can change. It is one copy
    that goes on changing; `net` and the random state are left as they were.
    """
    net = copy.deepcopy(getattr(net, "_orig_mod", net))  # what torch.compile wraps
    generator = torch.Generator().manual_seed(seed)
    for path, module in reversed(list(net.named_modules())):
        own = list(module.parameters(recurse=False))
        with torch.no_grad():
            for parameter in own:
                drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.copy_(drawn * parameter.std(correction=0) + parameter.mean())
        if own:
            yield path, net


def randomisation_check(
    method: Method, net: nn.Module, image: Tensor, target: Target | None = None, *, seed: int = 0
) -> dict[str, Tensor]:
    """Follow the `cascade`; return how like the maps stay, by layer.

    Values (B,) are Spearman's rank correlations with the maps of `net` itself, of absolute values; they must
    fall. The class asked about is that which `net` predicts.
    """
    with explaining(net), torch.no_grad():
        settled = pin(target, net(image))
    before = method(net, image, settled).abs()
    return {
        path: rank_correlation(before, method(changed, image, settled).abs())
        for path, changed in cascade(net, seed=seed)
    }


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's rank correlation (B,) of two batches of maps (B, H, W); equal values share a rank.

    It is 0 where a map is constant.
    """
    ranks = torch.stack([_shared_ranks(m.flatten(1)) for m in (first, second)])  # (2, B, H W)
    a, b = ranks - ranks.mean(2, keepdim=True)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)


def _shared_ranks(values: Tensor) -> Tensor:
    rows = []
    for row in values:
        _, inverse, counts = row.unique(return_inverse=True, return_counts=True)
        middle = counts.cumsum(0) - (counts - 1) / 2  # the mean rank of each distinct value
        rows.append(middle[inverse])
    return torch.stack(rows).double()
