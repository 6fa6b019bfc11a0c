"""Compare the boundaries of regions in class maps."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fovea.ops.segmentation import in_bands
from fovea.types import IGNORE

STEPS = ((0, 1), (1, 0))


def boundary(labels: Tensor) -> Tensor:
    """Mark the pixels (B, H, W) of a class map with a neighbour of another class, above, below or beside.

    255 is no class: it makes no boundary and is none.
    """
    found = torch.zeros_like(labels, dtype=torch.bool)
    height, width = labels.shape[-2:]
    for y, x in STEPS:
        first, second = (..., slice(height - y), slice(width - x)), (..., slice(y, None), slice(x, None))
        a, b = labels[first], labels[second]
        differ = (a != b) & (a != IGNORE) & (b != IGNORE)
        found[first] |= differ
        found[second] |= differ
    return found


def radius_of(height: int, width: int, *, tolerance: float) -> float:
    """Return `tolerance` as a share of the diagonal in pixels, at least one."""
    return max(1.0, tolerance * math.hypot(height, width))


def boundary_f1(preds: Tensor, target: Tensor, *, num_classes: int, tolerance: float) -> Tensor:
    """Return the F1 score (B, K) of each class's boundary in class maps (B, H, W), 255 in `target` = ignore.

    P is the share of predicted boundary pixels with one of the same class in the truth within the tolerance
    (Euclidean, `radius_of`), R the share of true ones with one in the prediction, F1 = 2PR / (P + R). Pixels
    that are ignored are taken out of both. Where both show the class and neither a boundary of it, as where
    it fills the image, the score is 1. NaN where neither shows the class, and where the truth shows it but
    hides its boundary behind 255.
    """
    known = target != IGNORE
    maps = {"preds": torch.where(known, preds, IGNORE), "target": target}
    shown = {name: _per_class(x, known, num_classes) > 0 for name, x in maps.items()}
    edges = {name: torch.where(boundary(x), x, IGNORE) for name, x in maps.items()}
    total = {name: _per_class(x, x != IGNORE, num_classes) for name, x in edges.items()}
    radius = radius_of(*target.shape[-2:], tolerance=tolerance)
    other = {"preds": "target", "target": "preds"}
    share = {}
    for name, x in edges.items():
        near = _per_class(x, _near(x, edges[other[name]], radius), num_classes)
        share[name] = torch.where(total[name] > 0, near / total[name].clamp(min=1), 0.0)
    both = share["preds"] + share["target"]
    score = torch.where(both > 0, 2 * share["preds"] * share["target"] / both.clamp(min=1e-12), 0.0)
    none = (total["preds"] == 0) & (total["target"] == 0)
    score = torch.where(none & shown["preds"] & shown["target"], 1.0, score)
    hidden = shown["target"] & (total["target"] == 0) & (~known).flatten(1).any(1)[:, None]
    return torch.where((shown["preds"] | shown["target"]) & ~hidden, score, torch.nan)


def _per_class(labels: Tensor, chosen: Tensor, num_classes: int) -> Tensor:
    """Count the chosen pixels (B, K) of each class."""
    counts = torch.zeros(len(labels) * num_classes, dtype=torch.int64, device=labels.device)
    for some, wanted in zip(in_bands(labels), in_bands(chosen), strict=True):
        image, y, x = wanted.nonzero(as_tuple=True)
        counts += torch.bincount(image * num_classes + some[image, y, x], minlength=len(counts))
    return counts.view(-1, num_classes)


def _near(edges: Tensor, others: Tensor, radius: float) -> Tensor:
    """Mark the pixels of `edges` (B, H, W) with one of the same class in `others` within `radius`.

    Only boundary pixels are compared, and of those only the ones not yet matched, from the nearest offsets
    outwards: the work grows with the length of the boundaries, not with the area or the number of classes.
    """
    reach = int(radius)
    framed = F.pad(others, (reach, reach, reach, reach), value=IGNORE)
    image, y, x = (edges != IGNORE).nonzero(as_tuple=True)
    label = edges[image, y, x]
    width = framed.shape[-1]
    centre = (image * framed.shape[-2] + y + reach) * width + x + reach
    flat, found = framed.flatten(), torch.zeros_like(label, dtype=torch.bool)
    left = torch.arange(len(label), device=label.device)
    for dy, dx in _disk(radius):
        hit = flat[centre[left] + dy * width + dx] == label[left]
        found[left[hit]] = True
        left = left[~hit]
    near = torch.zeros_like(edges, dtype=torch.bool)
    near[image, y, x] = found
    return near


def _disk(radius: float) -> list[tuple[int, int]]:
    """List the offsets within `radius`, the nearest first."""
    reach = range(-int(radius), int(radius) + 1)
    offsets = [(dy, dx) for dy in reach for dx in reach if dy * dy + dx * dx <= radius * radius]
    return sorted(offsets, key=lambda o: o[0] ** 2 + o[1] ** 2)
