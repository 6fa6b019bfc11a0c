"""Draw what a class or a channel responds to, by gradient ascent on the image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fovea.explain.core.hooks import record
from fovea.explain.core.layers import to_grid
from fovea.explain.core.method import explaining, score_gradient, watch
from fovea.explain.core.pixels import Pixels, blur, draw_move, moments, roll
from fovea.explain.core.targets import ClassScore

Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Climb:
    """Hold the pictures kept on the way.

    Attributes:
        pictures: (T, K, C, H, W) in 0…1, of K classes or channels at T iterations.
        iterations: the T iterations, the first 0.
        scores: (T, K), what was climbed, without the penalty and the jitter.
    """

    pictures: Tensor
    iterations: list[int]
    scores: Tensor


def join(climbs: Iterable[Climb]) -> Climb:
    """Join climbs of the same length for different classes."""
    found = list(climbs)
    pictures, scores = (torch.cat([getattr(c, n) for c in found], dim=1) for n in ("pictures", "scores"))
    return replace(found[0], pictures=pictures, scores=scores)


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """Climb score(x) - l2 |x|² from noise, x being the normalised image.

    Simonyan et al. 2014, https://arxiv.org/abs/1312.6034, eq. 1; blur as in Yosinski et al. 2015,
    https://arxiv.org/abs/1506.06579, section 3; jitter as in Mordvintsev et al. 2015, "Inceptionism".

    Args:
        lr: the root mean square of a step over pixels; without `normalise`, a factor of the gradient.
        l2: weight of the penalty, against a score in logits.
        jitter: the image is rolled by up to so many pixels before each step, and back after it.
        blur_every, blur_sigma: a Gaussian of so many pixels after each so many steps; 0 is never.
        scales: the gradient is the sum of its blurs by these Gaussians, each made equally large, so that
            coarse shapes grow as fast as fine texture (the Laplacian pyramid of "Inceptionism"); none: as is.
        clip: whether pictures stay within 0…1.
        noise: standard deviation of the start around the mean image; 0 starts at the mean image.
        keep: how many pictures are kept, evenly over the iterations.
    """

    steps: int = 200
    lr: float = 0.05
    l2: float = 1e-3
    jitter: int = 2
    blur_every: int = 10
    blur_sigma: float = 0.5
    scales: Sequence[float] = ()
    normalise: bool = True
    clip: bool = True
    noise: float = 0.1
    keep: int = 8
    seed: int = 0

    def __call__(self, score: Score, shape: Sequence[int], pixels: Pixels, like: Tensor) -> Climb:
        """Climb for images of `shape` (K, C, H, W), with the type and device of `like`."""
        generator = torch.Generator().manual_seed(self.seed)
        start = self.noise * torch.randn(
            1, *shape[1:], generator=generator
        )  # one for all: each is as if alone
        image = start.to(like).expand(*shape)
        image = pixels.clip(image) if self.clip else image
        at, pictures, scores = moments(self.steps, self.keep), [], []
        for step in range(self.steps + 1):
            if step in at:
                pictures.append(pixels.decode(image).clamp(0, 1))
                with torch.no_grad():
                    scores.append(score(image.clone()))  # a net may work in place
            if step < self.steps:
                image = self._step(score, image, pixels, generator)
                if self.blur_every and step % self.blur_every == 0:
                    image = blur(image, self.blur_sigma)
        return Climb(pictures=torch.stack(pictures), iterations=at, scores=torch.stack(scores))

    def _step(self, score: Score, image: Tensor, pixels: Pixels, generator: torch.Generator) -> Tensor:
        down, right = draw_move(self.jitter, generator)
        moved = roll(image, (down, right))
        leaf = watch(moved)
        gradient = score_gradient(score(leaf.clone()), leaf) - 2 * self.l2 * moved
        if self.scales:
            gradient = torch.stack([_even(blur(gradient, sigma)) for sigma in self.scales]).sum(dim=0)
        if self.normalise:
            gradient = _even(gradient)
        moved = roll(moved + self.lr * gradient, (-down, -right))
        return pixels.clip(moved) if self.clip else moved


def _even(gradient: Tensor) -> Tensor:
    """Bring the root mean square of each of (B, C, H, W) to 1."""
    size = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return gradient / size.clamp(min=torch.finfo(size.dtype).tiny)


def visualise_class(
    net: nn.Module,
    index: int | Sequence[int],
    *,
    size: int | tuple[int, int],
    pixels: Pixels,
    ascent: Ascent | None = None,
) -> Climb:
    """Draw the picture with the largest logit of each class; all classes climb as one batch.

    `size` is one side of a square picture, or H, W.
    """
    classes = torch.tensor([index] if isinstance(index, int) else list(index))
    target = ClassScore(classes)
    with explaining(net):
        return (ascent or Ascent())(
            lambda image: target(net(image)), _shape(classes, size, pixels), pixels, _like(net)
        )


def visualise_channel(
    net: nn.Module,
    path: str,
    channel: int | Sequence[int],
    *,
    size: int | tuple[int, int],
    pixels: Pixels,
    ascent: Ascent | None = None,
) -> Climb:
    """Draw the picture with the largest mean of each channel of the map that the module `path` gives.

    Erhan et al. 2009, "Visualizing higher-layer features of a deep network".
    """
    channels = torch.tensor([channel] if isinstance(channel, int) else list(channel))
    with explaining(net), record(net, path) as tapped:

        def score(image: Tensor) -> Tensor:
            net(image)
            grid = to_grid(net, tapped[path], image.shape[2:])  # (K, D, h, w)
            if channels.min() < 0 or channels.max() >= grid.shape[1]:
                raise ValueError(
                    f"{channels.tolist()} are not all channels of {path}: it has {grid.shape[1]}"
                )
            rows = torch.arange(len(channels), device=grid.device)
            return grid[rows, channels.to(grid.device)].mean(dim=(1, 2))

        return (ascent or Ascent())(score, _shape(channels, size, pixels), pixels, _like(net))


def _shape(index: Tensor, size: int | tuple[int, int], pixels: Pixels) -> tuple[int, int, int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return len(index), pixels.channels, height, width


def _like(net: nn.Module) -> Tensor:
    return next((p.detach() for p in net.parameters()), torch.zeros(()))
