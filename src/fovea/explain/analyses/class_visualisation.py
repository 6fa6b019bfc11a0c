"""Draw the picture that a class responds to most, by gradient ascent on the image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fovea.explain.analyses.base import Analysis, class_index, class_name, write_table
from fovea.explain.core.method import explaining, score_gradient, watch
from fovea.explain.core.model import ExplainedModel
from fovea.explain.core.pixels import Pixels, blur, moments, to_uint8
from fovea.explain.core.targets import ClassScore
from fovea.files import write_npy
from fovea.page.blocks import Block, Picture
from fovea.page.image_grid import Tile, grid

Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class AscentResult:
    """The pictures kept on the way of an ascent.

    Attributes:
        pictures: (T, K, C, H, W) in 0…1, of K classes at T iterations.
        iterations: the T iterations, the first 0.
        scores: (T, K), what was climbed, without the penalty and the jitter.
    """

    pictures: Tensor
    iterations: list[int]
    scores: Tensor


def join(results: Iterable[AscentResult]) -> AscentResult:
    """Join results of the same length for different classes."""
    found = list(results)
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

    def __call__(self, score: Score, shape: Sequence[int], pixels: Pixels, like: Tensor) -> AscentResult:
        """Climb for images of `shape` (K, C, H, W), with the type and device of `like`."""
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(1, *shape[1:], generator=generator)  # one for all: each is as if alone
        image = (self.noise * noise).to(like).expand(*shape)
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
        return AscentResult(pictures=torch.stack(pictures), iterations=at, scores=torch.stack(scores))

    def _step(self, score: Score, image: Tensor, pixels: Pixels, generator: torch.Generator) -> Tensor:
        down, right = torch.randint(-self.jitter, self.jitter + 1, (2,), generator=generator).tolist()
        moved = image.roll((down, right), dims=(-2, -1))
        leaf = watch(moved)
        gradient = score_gradient(score(leaf.clone()), leaf) - 2 * self.l2 * moved
        if self.scales:
            gradient = torch.stack([_unit_rms(blur(gradient, sigma)) for sigma in self.scales]).sum(dim=0)
        if self.normalise:
            gradient = _unit_rms(gradient)
        moved = (moved + self.lr * gradient).roll((-down, -right), dims=(-2, -1))
        return pixels.clip(moved) if self.clip else moved


def _unit_rms(gradient: Tensor) -> Tensor:
    """Bring the root mean square of each of (B, C, H, W) to 1."""
    size = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return gradient / size.clamp(min=torch.finfo(size.dtype).tiny)


def visualise_class(
    net: nn.Module, index: Sequence[int], *, size: tuple[int, int], pixels: Pixels, ascent: Ascent
) -> AscentResult:
    """Draw the picture (H, W) with the largest logit of each class; all classes climb as one batch."""
    target = ClassScore(torch.tensor(index))
    like = next((p.detach() for p in net.parameters()), torch.zeros(()))
    with explaining(net):
        return ascent(lambda x: target(net(x)), (len(index), pixels.channels, *size), pixels, like)


class ClassVisualisationAnalysis(Analysis):
    """Draw a montage over iterations, a row per class.

    Args:
        classes: names or indices; null: those predicted of the images, the most frequent first.
        limit: the most classes, where none are named.
        jitter: in pixels; null: a seventh of the smaller side.
        options: of `Ascent`: steps, lr, l2, blur_every, blur_sigma, scales, noise, keep, seed, …
    """

    title = "Class visualisation"

    def __init__(
        self,
        *,
        classes: str | int | Sequence[str | int] | None = None,
        limit: int = 4,
        jitter: int | None = None,
        **options: Any,
    ) -> None:
        if limit < 1:
            raise ValueError(f"limit={limit} must be 1 or more")
        self.classes, self.limit, self.jitter = classes, limit, jitter
        self.ascent = Ascent(**options)

    def __call__(self, model: ExplainedModel, folder: Path) -> Sequence[Block]:
        """Write the montage (png), the last pictures (npy: classes, C, H, W in 0…1) and the scores (csv)."""
        chosen = self._chosen(model)
        jitter = min(model.size) // 7 if self.jitter is None else self.jitter
        ascent = replace(self.ascent, jitter=jitter)
        at_once = model.batch_size
        result = join(
            visualise_class(
                model.net, chosen[i : i + at_once], size=model.size, pixels=model.pixels, ascent=ascent
            )
            for i in range(0, len(chosen), at_once)
        )
        names = [class_name(model.classes, label) for label in chosen]
        write_npy(folder / "classes.npy", result.pictures[-1].cpu().numpy())
        self._table(folder, names, result)
        path = grid(folder / "classes.png", _rows(result), titles=names)
        caption = (
            "Each picture starts as noise and maximises the logit of its class by gradient ascent, with an "
            "L2 penalty, and with jitter and blur against high-frequency patterns."
        )
        return [Picture(path, f"class visualisations of {model.name}", caption)]

    def _chosen(self, model: ExplainedModel) -> list[int]:
        if self.classes is not None:
            named = [self.classes] if isinstance(self.classes, str | int) else self.classes
            return list(dict.fromkeys(class_index(model.classes, name) for name in named))
        counts = torch.zeros(len(model.classes), dtype=torch.long)
        for batch in model.batches():
            for one in model.selector.predicted(model.output(batch.image)):
                counts[one.label] += 1
        order = counts.argsort(descending=True, stable=True)
        return order[: min(self.limit, int((counts > 0).sum()))].tolist()

    def _table(self, folder: Path, names: Sequence[str], result: AscentResult) -> None:
        rows = (
            {"class": name, "step": step, "logit": float(result.scores[t, k])}
            for k, name in enumerate(names)
            for t, step in enumerate(result.iterations)
        )
        write_table(folder / "classes.csv", rows, columns=["class", "step", "logit"])


def _rows(result: AscentResult) -> list[list[Tile]]:
    """Lay each class out over the iterations."""
    return [
        [
            Tile(picture=to_uint8(picture), lines=[f"step {step}", f"logit {score:.1f}"])
            for step, picture, score in zip(result.iterations, pictures, scores, strict=True)
        ]
        # of each class (T, C, H, W) and T numbers
        for pictures, scores in zip(result.pictures.unbind(1), result.scores.T.tolist(), strict=True)
    ]
