"""Find the place that is most like a mean template: normalised cross-correlation after Lewis (1995)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fovea.models.classic._windows import WindowSearch, with_box
from fovea.ops.correlation import correlate, normalised


class TemplateMatching(WindowSearch):
    """Give the correlation of the best window with the template of each class, and that window.

    The template of a class is the mean of what lies in its boxes, each brought to side × side grey values of
    mean 0 and length 1.
    """

    templates: Tensor  # (K, 1, side, side)

    def __init__(self, *, num_classes: int, side: int = 24, temperature: float = 0.1, **kwargs: Any) -> None:
        super().__init__(num_classes=num_classes, side=side, temperature=temperature, **kwargs)
        self.register_buffer("templates", torch.zeros(num_classes, 1, side, side))

    def score(self, level: Tensor, label: int) -> Tensor:
        """Return the correlations (B, h, w) with the template of a class."""
        return correlate(level, self.templates[label : label + 1])[:, 0]

    def note(self, x: Tensor, preds: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """Return label and box (n, 5) of the images that have one, and what lies in it (n, 1, side, side)."""
        images = with_box(target)
        return target[images], normalised(self.crop(self.grey(x), images, target[images, 1:]))

    def fit(self, *notes: Tensor) -> None:
        """Set the templates to the mean of what lies in the boxes of each class."""
        target, crops = notes
        labels = target[:, 0].long()
        self.take_sizes(labels, target[:, 1:])
        self.templates.copy_(normalised(torch.zeros_like(self.templates).index_add(0, labels, crops)))
