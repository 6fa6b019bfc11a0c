"""Measure the faithfulness of maps: deletion, insertion, pointing game."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fovea.explain.core.method import enlarge, explaining
from fovea.explain.core.pixels import blur as smooth
from fovea.explain.core.targets import Probability, Target, pin


@dataclass(frozen=True)
class ReplacementCurve:
    """Scores along the way from the first image to the last."""

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
) -> ReplacementCurve:
    """Set pixels to `fill`, those of the highest map first: the faster the score falls, the better.

    Petsiuk et al. (2018), https://arxiv.org/abs/1806.07421, section 4.1. The score is the probability of the
    class predicted for the unchanged image, unless `target` says another.
    """
    empty = torch.as_tensor(fill, dtype=image.dtype, device=image.device).expand_as(image)
    return _replace(net, image, empty, maps, target, pinned=image, steps=steps)


def insertion(
    net: nn.Module,
    image: Tensor,
    maps: Tensor,
    target: Target | None = None,
    *,
    steps: int = 50,
    blur: float | None = None,
) -> ReplacementCurve:
    """Put pixels into a blurred image, highest map first: the faster the score rises, the better.

    `blur` is the standard deviation in pixels; None: 5 of 224, as in the code of the paper (see `deletion`).
    Give more where the net still knows the blurred image: all maps then score alike.
    """
    sigma = blur if blur is not None else max(5 * min(image.shape[-2:]) / 224, 0.5)
    return _replace(net, smooth(image, sigma), image, maps, target, pinned=image, steps=steps)


def _replace(
    net: nn.Module,
    first: Tensor,
    last: Tensor,
    maps: Tensor,
    target: Target | None,
    *,
    pinned: Tensor,
    steps: int,
) -> ReplacementCurve:
    """Score the images between `first` and `last`, pixels changing from the highest of `maps` down."""
    if maps.shape != (len(first), *first.shape[2:]):
        raise ValueError(f"maps {tuple(maps.shape)} do not fit images {tuple(first.shape)}: give (B, H, W)")
    count = maps[0].numel()
    if not 1 <= steps <= count:
        raise ValueError(f"steps={steps}: take 1 to {count}, the number of pixels")
    rank = _ranks(-maps.flatten(1)).view(len(maps), 1, *maps.shape[1:])  # (B, 1, H, W), 0 is the highest
    changed = torch.linspace(0, count, steps + 1).round().long()
    with explaining(net), torch.no_grad():
        settled = pin(target or Probability(), net(pinned))
        scores = [settled(net(torch.where(rank < int(n), last, first))) for n in changed]
    return ReplacementCurve(fraction=changed / count, score=torch.stack(scores, dim=1))


def _ranks(values: Tensor) -> Tensor:
    """Return the rank of each value (B, N) in its row; equal ones in the order in which they stand."""
    return values.argsort(dim=1, stable=True).argsort(dim=1)


def boxes_to_region(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the pixels (H, W) whose centres lie in any of the boxes (N, 4), x1 y1 x2 y2."""
    x, y = (torch.arange(n, device=boxes.device) + 0.5 for n in (size[1], size[0]))
    left, top, right, bottom = boxes.view(-1, 4, 1).unbind(1)  # each (N, 1)
    across, down = (x >= left) & (x < right), (y >= top) & (y < bottom)  # (N, W), (N, H)
    return (down[:, :, None] & across[:, None]).any(0)


def pointing_game(maps: Tensor, regions: Tensor, *, tolerance: int = 15) -> Tensor:
    """Return (B,) bool: whether the maximum of each map (B, H, W) is within `tolerance` pixels of its region.

    Zhang et al. (2018), https://arxiv.org/abs/1608.00507, section 4.2, where 15 pixels are allowed. The
    accuracy of a method is the mean over images and classes. `regions` (B, H, W) are masks of the class, or
    boxes by way of `boxes_to_region`.
    """
    if maps.shape != regions.shape or maps.ndim != 3:
        raise ValueError(f"maps {tuple(maps.shape)} and regions {tuple(regions.shape)} must be (B, H, W)")
    place = maps.flatten(1).argmax(1)  # (B,)
    y_max, x_max = place // maps.shape[2], place % maps.shape[2]
    y = torch.arange(maps.shape[1], device=maps.device)[None, :, None] - y_max[:, None, None]
    x = torch.arange(maps.shape[2], device=maps.device)[None, None] - x_max[:, None, None]
    near = y.square() + x.square() <= tolerance**2  # (B, H, W)
    return (near & regions.bool()).flatten(1).any(1)


def centre_map(net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
    """Map images to a Gaussian at their centre, sigma a quarter of each side, whatever the net."""
    down, across = (
        torch.exp(-0.5 * (torch.linspace(-2, 2, n, device=image.device) ** 2)) for n in image.shape[-2:]
    )
    return (down[:, None] * across).expand(len(image), -1, -1)


class RandomMap:
    """Map images to noise on a coarse grid, enlarged as class activation maps are; each call draws other."""

    def __init__(self, *, seed: int = 0, side: int = 7) -> None:
        self.side, self.generator = side, torch.Generator().manual_seed(seed)

    def __call__(self, net: nn.Module, image: Tensor, target: Target | None = None) -> Tensor:
        """Map images (B, C, H, W) to maps (B, H, W), whatever the net."""
        drawn = torch.rand(len(image), self.side, self.side, generator=self.generator)
        return enlarge(drawn.to(image.device), (image.shape[-2], image.shape[-1]))
