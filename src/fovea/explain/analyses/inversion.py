"""Rebuild images from the features of layers of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fovea.explain.analyses.base import Analysis, file_stem, layers_of, write_table
from fovea.explain.core.depth import spread_layers
from fovea.explain.core.method import explaining
from fovea.explain.core.model import ExplainedModel
from fovea.explain.core.pixels import Pixels, to_uint8, total_variation
from fovea.files import write_npy
from fovea.models.hooks import record
from fovea.page.blocks import Block, Picture, Text
from fovea.page.image_grid import Tile, grid


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """Minimise |f(x) - f₀|² / |f₀|² + alpha_weight R_α(x) + tv_weight R_V(x), starting from noise.

    Mahendran & Vedaldi 2015, https://arxiv.org/abs/1412.0035, eqs. 1 to 4; both penalties are means over the
    normalised image x. Adam takes the place of momentum, its rate falls to zero along a cosine, and pictures
    stay within 0…1.

    Args:
        lr: of Adam, in units of the normalised image.
        alpha, beta: the powers of the norm and of the total variation.
        noise: standard deviation of the start around the mean image.
    """

    steps: int = 300
    lr: float = 0.05
    alpha: float = 6.0
    alpha_weight: float = 1e-5
    beta: float = 2.0
    tv_weight: float = 1e-2
    noise: float = 0.1
    seed: int = 0

    def penalty(self, image: Tensor) -> Tensor:
        """Return the natural-image penalty (B,) of images (B, C, H, W)."""
        variation = total_variation(image, self.beta)
        norm = image.abs().pow(self.alpha).mean(dim=(1, 2, 3))  # section 2, with the mean in place of the sum
        return self.alpha_weight * norm + self.tv_weight * variation

    def start(self, like: Tensor) -> Tensor:
        """Draw the first image, the same for each of `like` (B, C, H, W)."""
        generator = torch.Generator().manual_seed(self.seed)
        noise = self.noise * torch.randn(1, *like.shape[1:], generator=generator)
        return noise.to(like).expand_as(like)


def invert(
    net: nn.Module, path: str, picture: Tensor, *, pixels: Pixels, inversion: Inversion
) -> tuple[Tensor, Tensor]:
    """Optimise pictures whose output f of the module `path` is that of `picture` (B, C, H, W) in 0…1.

    Returns the pictures, and their distances |f - f₀|² / |f₀|² (B,).
    """
    with explaining(net), record(net, path) as tapped:
        picture = pixels.check(picture)

        def features(image: Tensor) -> Tensor:
            net(image)
            return tapped[path].flatten(1)  # (B, D)

        with torch.no_grad():
            wanted = features(pixels.encode(picture)).detach().clone()

        def distance(image: Tensor) -> Tensor:
            scale = wanted.square().sum(dim=1).clamp(min=torch.finfo(wanted.dtype).tiny)
            return (features(image.clone()) - wanted).square().sum(dim=1) / scale

        return _descend(distance, inversion.start(picture), pixels, inversion)


def _descend(
    distance: Callable[[Tensor], Tensor], image: Tensor, pixels: Pixels, inversion: Inversion
) -> tuple[Tensor, Tensor]:
    image = pixels.clip(image).requires_grad_()
    adam = torch.optim.Adam([image], lr=inversion.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, inversion.steps)
    for _ in range(inversion.steps):
        loss = (distance(image) + inversion.penalty(image)).sum()
        (image.grad,) = torch.autograd.grad(loss, image)
        adam.step()
        schedule.step()
        with torch.no_grad():
            image.copy_(pixels.clip(image))
    image = image.detach()
    with torch.no_grad():
        return pixels.decode(image).clamp(0, 1), distance(image)


class InversionAnalysis(Analysis):
    """Draw the original beside the picture that each layer gives back (Mahendran & Vedaldi 2015).

    Args:
        layer: a path, or several; null: `layers` of them over the depth of the net.
        limit: how many images.
        options: of `Inversion`: steps, lr, the weights of its penalties, seed.
    """

    title = "Feature inversion"

    def __init__(
        self, *, layer: str | Sequence[str] | None = None, layers: int = 4, limit: int = 2, **options: Any
    ) -> None:
        if min(layers, limit) < 1:
            raise ValueError(f"layers={layers} and limit={limit} must be 1 or more")
        self.layer, self.layers, self.limit = layer, layers, limit
        self.inversion = Inversion(**options)

    def __call__(self, model: ExplainedModel, folder: Path) -> Sequence[Block]:
        """Write a sheet per image (png), the pictures (npy: C, H, W in 0…1) and `inversion.csv`."""
        blocks: list[Block] = [
            Text(
                "Each picture starts as noise and is changed until its features in the layer are those of "
                "the original. The distance is the squared error of the features over their squared size: "
                "0 is equal, 1 is as far as features of zero."
            )
        ]
        paths, table = layers_of(self.layer), []
        for batch in model.batches(self.limit):
            for image, row in zip(batch.image, batch.rows, strict=True):
                image = image[None].to(model.device)
                paths = paths or spread_layers(model.net, image, self.layers, vectors=True)
                block, lines = self._sheet(model, folder, image, row, paths)
                blocks.append(block)
                table += lines
        write_table(folder / "inversion.csv", table, columns=["image", "layer", "steps", "distance"])
        return blocks

    def _sheet(
        self, model: ExplainedModel, folder: Path, image: Tensor, row: int, paths: Sequence[str]
    ) -> tuple[Picture, list[dict[str, Any]]]:
        stem = file_stem(model, row)
        original = model.pixels.decode(image).clamp(0, 1)
        cells, table = [Tile(picture=to_uint8(original[0]), lines=["original"])], []
        for path in paths:
            found = invert(model.net, path, original, pixels=model.pixels, inversion=self.inversion)
            picture, distance = found[0][0], float(found[1])
            write_npy(folder / f"{stem}__{path}.npy", picture.cpu().numpy())
            cells.append(Tile(picture=to_uint8(picture), lines=[path, f"distance {distance:.3g}"]))
            steps = self.inversion.steps
            table.append({"image": model.ids[row], "layer": path, "steps": steps, "distance": distance})
        sheet = grid(folder / f"{stem}.png", [cells])
        return Picture(sheet, f"images rebuilt from {model.name}", str(model.ids[row])), table
