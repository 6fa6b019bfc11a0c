"""Augment whole batches of images in 0…255, vectorised, each a pure function of (seed, epoch, sample index).

Boxes, masks and keypoints move along; what a mask shows beside the old image is 255, ignored.

Every class is called as `augment(batch, seed=…, num_classes=…)` and returns a new batch. `stream` keeps the
random numbers of different transforms apart; give two of the same class different ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fovea.ops import rng
from fovea.ops.annotations import PIXELS, annotated, refuse_annotated, transform_annotations
from fovea.types import Batch


def draw(batch: Batch, *, seed: int, n: int, stream: int) -> Tensor:
    """Return (B, n) float32 in [0, 1), on the device of the images."""
    values = rng.uniform(seed, batch["epoch"], batch["index"].cpu().numpy(), n=n, stream=stream)
    return torch.from_numpy(values.astype(np.float32)).to(batch["image"].device, non_blocking=True)


def replaced(batch: Batch, **entries: Any) -> Batch:
    """Return the batch with some entries replaced."""
    return {**batch, **entries}  # type: ignore[typeddict-item]


class RandomShift:
    """Move each image by up to `fraction` of its shorter side in both directions; what comes in is black.

    The zero-padded random crop of He et al. 2016, arXiv:1512.03385, section 4.2: 4 of 32 pixels.
    """

    def __init__(self, *, fraction: float = 0.125, stream: int = 1) -> None:
        if not 0 <= fraction <= 1:
            raise ValueError(f"RandomShift: fraction={fraction} must lie between 0 and 1")
        self.fraction, self.stream = fraction, stream

    def __call__(self, batch: Batch, *, seed: int, num_classes: int) -> Batch:
        """Shift every image on its own."""
        image = batch["image"]
        pixels = round(self.fraction * min(image.shape[-2:]))
        side = 2 * pixels + 1
        corner = (draw(batch, seed=seed, n=2, stream=self.stream) * side).long().clamp_(max=side - 1)
        moved = replaced(batch, image=_cut(image, corner, pixels))
        if not annotated(batch):
            return moved
        for key, fill in PIXELS.items():
            if key in batch:
                cut = _cut(batch[key][:, None], corner, pixels, fill)[:, 0]  # type: ignore[literal-required]
                moved = replaced(moved, **{key: cut})
        way = pixels - corner.flip(1)  # (B, 2) x y
        return transform_annotations(moved, lambda xy, index: xy + way[index])


def _cut(image: Tensor, corner: Tensor, pixels: int, fill: int = 0) -> Tensor:
    """Pad with `fill` and cut windows of the old size at `corner` (B, 2), copying row by row."""
    b, c, h, w = image.shape
    padded = image.new_full((b, c, h + 2 * pixels, w + 2 * pixels), fill)
    padded[:, :, pixels : pixels + h, pixels : pixels + w] = image
    y = corner[:, 0, None, None] + torch.arange(h, device=image.device)  # (B, 1, H)
    plane = torch.arange(b * c, device=image.device).view(b, c, 1) * padded.shape[2]
    start = (plane + y) * padded.shape[3] + corner[:, 1, None, None]  # (B, C, H) where each row begins
    return padded.view(-1).unfold(0, w, 1).index_select(0, start.view(-1)).view(b, c, h, w)


class HorizontalFlip:
    """Mirror each image left to right with probability `p`; not at all unless `enabled`."""

    def __init__(self, *, p: float = 0.5, enabled: bool = True, stream: int = 2) -> None:
        self.p, self.enabled, self.stream = _probability(p, "HorizontalFlip"), enabled, stream

    def __call__(self, batch: Batch, *, seed: int, num_classes: int) -> Batch:
        """Flip the chosen images."""
        if not self.enabled:
            return batch
        image = batch["image"]
        chosen = draw(batch, seed=seed, n=1, stream=self.stream)[:, 0] < self.p
        flipped = replaced(batch, image=_flip(image, chosen))
        if not annotated(batch):
            return flipped
        for key in PIXELS:
            if key in batch:
                flipped = replaced(flipped, **{key: _flip(batch[key], chosen)})  # type: ignore[literal-required]
        width, mirror = image.shape[-1], torch.tensor([-1, 1], device=image.device)
        base = torch.tensor([width, 0], device=image.device)
        return transform_annotations(
            flipped,
            lambda xy, index: torch.where(chosen[index][..., None], base + mirror * xy, xy),
        )


def _flip(pixels: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the chosen ones: picking whole images from both versions copies faster than pixel by pixel."""
    rows = torch.arange(len(pixels), device=pixels.device) + chosen * len(pixels)
    return torch.cat([pixels, pixels.flip(-1)]).index_select(0, rows)


class RandomErasing:
    """Overwrite a random rectangle of each image with noise, or with `fill`, with probability `p`.

    Zhong et al. 2020, arXiv:1708.04896: area and aspect ratio are drawn from `area` (parts of the image) and,
    log-uniformly, from `ratio`. A rectangle that would not fit is cut to the image.
    """

    def __init__(
        self,
        *,
        p: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: tuple[float, float] = (0.3, 3.33),
        fill: float | None = None,
        stream: int = 3,
    ) -> None:
        if not (0 < area[0] <= area[1] <= 1 and 0 < ratio[0] <= ratio[1]):
            raise ValueError(f"RandomErasing: area={area} must rise within (0, 1], ratio={ratio} be positive")
        self.p, self.fill, self.stream = _probability(p, "RandomErasing"), fill, stream
        self.area, self.ratio = tuple(area), tuple(ratio)

    def __call__(self, batch: Batch, *, seed: int, num_classes: int) -> Batch:
        """Erase one rectangle per chosen image."""
        image = batch["image"]
        drawn = draw(batch, seed=seed, n=5, stream=self.stream)
        area = (self.area[0] + drawn[:, 1] * (self.area[1] - self.area[0])) * image[0, 0].numel()
        low, high = np.log(self.ratio)
        root = torch.exp(0.5 * (low + drawn[:, 2] * (high - low)))
        inside = _rectangles(image, height=area.sqrt() * root, width=area.sqrt() / root, place=drawn[:, 3:])
        inside &= (drawn[:, 0] < self.p)[:, None, None, None]
        return replaced(batch, image=torch.where(inside, self._filling(batch, seed), image))

    def _filling(self, batch: Batch, seed: int) -> Tensor:
        image = batch["image"]
        if self.fill is not None:
            return torch.full((), self.fill, device=image.device).to(image.dtype)
        index = batch["index"].cpu().numpy()
        words = -(-image[0].numel() // 8)  # 8 bytes of noise in each 64-bit word
        bits = rng.bits(seed, batch["epoch"], index, n=words, stream=self.stream + 1000)
        noise = np.ascontiguousarray(bits).view(np.uint8)[:, : image[0].numel()].reshape(tuple(image.shape))
        return torch.from_numpy(noise).to(image.device, non_blocking=True).to(image.dtype)


def _rectangles(image: Tensor, *, height: Tensor, width: Tensor, place: Tensor) -> Tensor:
    """Mark one rectangle per image (B, 1, H, W); `place` (B, 2) in [0, 1) moves it over where it fits."""
    h, w = image.shape[-2:]
    height, width = height.round().clamp(1, h), width.round().clamp(1, w)
    top = (place[:, 0] * (h - height + 1)).floor()
    left = (place[:, 1] * (w - width + 1)).floor()
    y, x = torch.arange(h, device=image.device), torch.arange(w, device=image.device)
    rows = (y >= top[:, None]) & (y < (top + height)[:, None])  # (B, H)
    columns = (x >= left[:, None]) & (x < (left + width)[:, None])  # (B, W)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


class Mixup:
    """Blend each image and its label with a partner from the batch: lam · own + (1 - lam) · partner.

    Zhang et al. 2018, arXiv:1710.09412; one lam ~ Beta(alpha, alpha) per batch. Labels become (B, classes).
    """

    def __init__(self, *, alpha: float = 0.2, p: float = 1.0, stream: int = 4) -> None:
        if alpha <= 0:
            raise ValueError(f"Mixup: alpha={alpha} must be above 0; augment=standard trains without it")
        self.alpha, self.p, self.stream = alpha, _probability(p, "Mixup"), stream

    def __call__(self, batch: Batch, *, seed: int, num_classes: int) -> Batch:
        """Mix images (as float) and labels with the same partners."""
        refuse_annotated(batch, "Mixup")
        lam, partner, _ = _pairing(self, batch, seed)
        image = batch["image"].float()
        label = _soft(batch["label"], num_classes)
        image = torch.lerp(image[partner], image, lam)
        return replaced(batch, image=image, label=torch.lerp(label[partner], label, lam))


class CutMix:
    """Paste a rectangle from a partner of the batch and mix the labels by area.

    Yun et al. 2019, arXiv:1905.04899: the rectangle covers 1 - lam, lam ~ Beta(alpha, alpha), with the aspect
    of the image around a uniform centre, cut at the border. Labels become (B, classes).
    """

    def __init__(self, *, alpha: float = 1.0, p: float = 1.0, stream: int = 5) -> None:
        if alpha <= 0:
            raise ValueError(f"CutMix: alpha={alpha} must be above 0; augment=standard trains without it")
        self.alpha, self.p, self.stream = alpha, _probability(p, "CutMix"), stream

    def __call__(self, batch: Batch, *, seed: int, num_classes: int) -> Batch:
        """Paste the same rectangle into every image."""
        refuse_annotated(batch, "CutMix")
        lam, partner, (cy, cx) = _pairing(self, batch, seed)
        image = batch["image"].clone()
        label = _soft(batch["label"], num_classes)
        h, w = image.shape[-2:]
        half = 0.5 * (1 - lam) ** 0.5
        top, bottom = (int(np.clip(round((cy + s * half) * h), 0, h)) for s in (-1, 1))
        left, right = (int(np.clip(round((cx + s * half) * w), 0, w)) for s in (-1, 1))
        image[:, :, top:bottom, left:right] = batch["image"][partner, :, top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (h * w)  # what the cut at the border left of it
        return replaced(batch, image=image, label=torch.lerp(label[partner], label, kept))


def _pairing(augment: Mixup | CutMix, batch: Batch, seed: int) -> tuple[float, Tensor, tuple[float, float]]:
    """Draw lam, a permutation (B,) of the batch and a centre, keyed by the first index of the batch."""
    first = int(batch["index"][0])
    generator = np.random.default_rng(rng.seed_for(seed, batch["epoch"], first, stream=augment.stream))
    active = generator.random() < augment.p
    lam = float(generator.beta(augment.alpha, augment.alpha)) if active else 1.0
    partner = torch.from_numpy(generator.permutation(len(batch["image"]))).to(batch["image"].device)
    return lam, partner, (generator.random(), generator.random())


def _soft(label: Tensor, num_classes: int) -> Tensor:
    return label if label.is_floating_point() else F.one_hot(label, num_classes).float()


def _probability(p: float, name: str) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p={p} must lie between 0 and 1")
    return p
