"""Measure whether maps say what the net looks at: deletion, insertion, pointing game, randomised weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from fovea.explain.method import Method, explaining
from fovea.explain.targets import Probability, Target, pin


@dataclass(frozen=True)
class Curve:
    """Hold scores along the way from the first image to the last."""

    fraction: Tensor  # (S + 1,), of the pixels that were changed, 0 to 1
    score: Tensor  # (B, S + 1)

    @property
    def auc(self) -> Tensor:
        """Return the area under each curve (B,), by trapezoids."""
        return torch.trapezoid(self.score, self.fraction.to(self.score), dim=1)


def deletion(
    net: nn.Module,
    image: Tensor,
    maps: Tensor,
    target: Target | None = None,
    *,
    steps: int = 50,
    fill: float | Tensor = 0.0,
) -> Curve:
    """Set pixels to `fill`, those of the highest map first: the faster the score falls, the better.

    Petsiuk et al. (2018), https://arxiv.org/abs/1806.07421, section 4.1. The score is the probability of the
    class predicted for the unchanged image, unless `target` says another.
    """
    empty = torch.as_tensor(fill, dtype=image.dtype, device=image.device).expand_as(image)
    return _replace(net, image, empty, maps, target, asked=image, steps=steps)


def insertion(
    net: nn.Module,
    image: Tensor,
    maps: Tensor,
    target: Target | None = None,
    *,
    steps: int = 50,
    blur: float | None = None,
) -> Curve:
    """Put pixels into a blurred image, highest map first: the faster the score rises, the better.

    `blur` is the standard deviation in pixels; None: 5 of 224, as in the code of the paper (see `deletion`).
    Give more where the net still knows the blurred image: all maps then score alike.
    """
    sigma = blur if blur is not None else max(5 * min(image.shape[-2:]) / 224, 0.5)
    reach = min(int(2 * sigma + 0.5), min(image.shape[-2:]) - 1)
    blurred = gaussian_blur(image, [2 * reach + 1, 2 * reach + 1], [sigma, sigma])
    return _replace(net, blurred, image, maps, target, asked=image, steps=steps)


def _replace(
    net: nn.Module,
    first: Tensor,
    last: Tensor,
    maps: Tensor,
    target: Target | None,
    *,
    asked: Tensor,
    steps: int,
) -> Curve:
    """Score the images between `first` and `last`, pixels changing from the highest of `maps` down."""
    if maps.shape != (len(first), *first.shape[2:]):
        raise ValueError(f"maps {tuple(maps.shape)} do not fit images {tuple(first.shape)}: give (B, H, W)")
    count = maps[0].numel()
    if not 1 <= steps <= count:
        raise ValueError(f"steps={steps}: take 1 to {count}, the number of pixels")
    rank = _ranks(-maps.flatten(1)).view(len(maps), 1, *maps.shape[1:])  # (B, 1, H, W), 0 is the highest
    changed = torch.linspace(0, count, steps + 1).round().long()
    with explaining(net), torch.no_grad():
        settled = pin(target or Probability(), net(asked))
        scores = [settled(net(torch.where(rank < int(n), last, first))) for n in changed]
    return Curve(fraction=changed / count, score=torch.stack(scores, dim=1))


def _ranks(values: Tensor) -> Tensor:
    """Return the place of each value (B, N) in its sorted row; equal ones in the order they stand."""
    return values.argsort(dim=1, stable=True).argsort(dim=1)


def boxes_to_region(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the pixels (H, W) whose centres lie in any of the boxes (N, 4), x1 y1 x2 y2."""
    x, y = (torch.arange(n, device=boxes.device) + 0.5 for n in (size[1], size[0]))
    left, top, right, bottom = boxes.view(-1, 4, 1).unbind(1)  # each (N, 1)
    across, down = (x >= left) & (x < right), (y >= top) & (y < bottom)  # (N, W), (N, H)
    return (down[:, :, None] & across[:, None]).any(0)


def pointing_game(maps: Tensor, regions: Tensor, *, tolerance: int = 15) -> Tensor:
    """Say for each map (B, H, W) whether its peak lies within `tolerance` pixels of its region: (B,) bool.

    Zhang et al. (2018), https://arxiv.org/abs/1608.00507, section 4.2, where 15 pixels are allowed. The
    accuracy of a method is the mean over images and classes. `regions` (B, H, W) are masks of the class, or
    boxes by way of `boxes_to_region`.
    """
    if maps.shape != regions.shape or maps.ndim != 3:
        raise ValueError(f"maps {tuple(maps.shape)} and regions {tuple(regions.shape)} must be (B, H, W)")
    place = maps.flatten(1).argmax(1)  # (B,)
    peak_y, peak_x = place // maps.shape[2], place % maps.shape[2]
    y = torch.arange(maps.shape[1], device=maps.device)[None, :, None] - peak_y[:, None, None]
    x = torch.arange(maps.shape[2], device=maps.device)[None, None] - peak_x[:, None, None]
    near = y.square() + x.square() <= tolerance**2  # (B, H, W)
    return (near & regions.bool()).flatten(1).any(1)


def randomisation_check(
    method: Method, net: nn.Module, image: Tensor, target: Target | None = None, *, seed: int = 0
) -> dict[str, Tensor]:
    """Draw the layers' weights anew from the top down; return how like the maps stay, by layer.

    Adebayo et al. (2018), https://arxiv.org/abs/1810.03292, section 3: cascading randomisation. Values (B,)
    are Spearman's rank correlations with the maps of `net` itself, of absolute values; they must fall. The
    class asked about is that which `net` predicts. `net` is left as it was.
    """
    with explaining(net), torch.no_grad():
        settled = pin(target, net(image))
    before = method(net, image, settled).abs()
    found, net = {}, copy.deepcopy(net)
    devices = [image.device] if image.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        for path, module in reversed(list(net.named_modules())):
            if any(True for _ in module.parameters(recurse=False)) and hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]
                found[path] = rank_correlation(before, method(net, image, settled).abs())
    return found


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's rank correlation (B,) of two batches of maps (B, H, W); equal values share a rank."""
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
