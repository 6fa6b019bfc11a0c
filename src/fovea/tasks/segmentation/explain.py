"""Select the classes of masks that are explained, and the pixels that their scores are read over."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fovea.explain.core.class_choice import LogitSelector, SelectedClass
from fovea.ops.segmentation import class_map
from fovea.types import IGNORE


class MaskSelector(LogitSelector):
    """Select among the classes of maps of logits (B, K, H, W), each with its share of the pixels.

    Args:
        classes: names in the order of the logits; a first one called background comes last.
        target: `predicted` (the largest class), `true` (the largest one of the mask), `top-3` (the largest
            three), a class's name, or its index.
    """

    def __init__(self, *, classes: Sequence[str], target: str | int = "predicted") -> None:
        super().__init__(classes=classes, target=target)
        self.background = bool(self.classes) and self.classes[0].lower() == "background"

    def target(self, selected: Sequence[SelectedClass]) -> ClassArea:
        """Return the logits of these classes, where they are predicted, as the target."""
        return ClassArea([one.label for one in selected])

    def label_of(self, mask: Tensor) -> Tensor:
        """Return the largest class (B,) of masks (B, H, W), -1 where every pixel is ignored."""
        shares = _shares(mask, len(self.classes))
        return torch.where(shares.sum(1) > 0, self.ranked(shares)[:, 0], -1)

    def probabilities(self, output: Tensor) -> Tensor:
        """Return the share (B, K) of the pixels that each class gets, on the CPU."""
        return _shares(class_map(output.detach()), max(output.shape[1], 2))

    def ranked(self, probs: Tensor) -> Tensor:
        """Order classes by size (B, K); background comes after all that is there."""
        size = probs.clone()
        if self.background:
            size[:, 0] *= 1e-9  # less than one pixel of any image, more than nothing
        return super().ranked(size)


class ClassArea:
    """Average the logits of one class for each image (B,) over `region` (B, H, W).

    The region of an image is where its class is predicted, or all of it where it is predicted nowhere. As
    equation 2 of Vinogradova et al. (2020), https://arxiv.org/abs/2002.11434, with a mean for the sum:
    methods that compare scores by softmax would see one score alone.
    """

    def __init__(self, labels: Sequence[int] | Tensor, *, region: Tensor | None = None) -> None:
        self.labels, self.region = torch.as_tensor(labels), region

    def __call__(self, output: Tensor) -> Tensor:
        """Map logits (B, K, H, W) to scores (B,)."""
        logits = self._logits(output)
        region = (self._found(output) if self.region is None else self.region).to(logits)
        return (logits * region).sum((1, 2)) / region.sum((1, 2))

    def pin(self, output: Tensor) -> ClassArea:
        """Settle the region, so that it stays the same for a changed image."""
        return self if self.region is not None else ClassArea(self.labels, region=self._found(output))

    def take(self, rows: Tensor) -> ClassArea:
        """Return the target of the images at `rows`."""
        region = None if self.region is None else self.region.to(rows.device)[rows]
        return ClassArea(self.labels.to(rows.device)[rows], region=region)

    def _found(self, output: Tensor) -> Tensor:
        found = class_map(output.detach()) == self.labels.to(output.device)[:, None, None]  # (B, H, W)
        return found | ~found.flatten(1).any(1)[:, None, None]

    def _logits(self, output: Tensor) -> Tensor:
        """Return the logit (B, H, W) of each image's class; K = 1 is the logit of class 1."""
        if output.ndim != 4 or len(self.labels) != len(output):
            raise ValueError(
                f"ClassArea of {len(self.labels)} images takes logits (B, K, H, W), got {tuple(output.shape)}"
            )
        labels = self.labels.to(output.device)
        count = max(output.shape[1], 2)
        if not 0 <= int(labels.min()) <= int(labels.max()) < count:
            raise ValueError(f"class {labels.tolist()} of a net with {count}: they count from 0")
        if output.shape[1] == 1:
            return output[:, 0] * (2 * labels - 1).to(output)[:, None, None]
        return output[torch.arange(len(output), device=output.device), labels]


def _shares(maps: Tensor, count: int) -> Tensor:
    """Return the share (B, count) of each class in maps (B, H, W) without 255, on the CPU."""
    kept = maps.flatten(1) != IGNORE
    rows = [torch.bincount(m[k], minlength=count)[:count] for m, k in zip(maps.flatten(1), kept, strict=True)]
    return torch.stack(rows).double().cpu() / max(maps[0].numel(), 1)
