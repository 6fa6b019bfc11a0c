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
        self._sums = torch.zeros(num_classes, 1, side, side)
        self._seen: list[Tensor] = []  # (n, 5) label and box

    def score(self, level: Tensor, label: int) -> Tensor:
        """Return the correlations (B, h, w) with the template of a class."""
        return correlate(level, self.templates[label : label + 1])[:, 0]

    @torch.no_grad()
    def observe(self, x: Tensor, preds: Tensor, target: Tensor) -> None:
        """Add what lies in the boxes to the templates."""
        images = with_box(target)
        labels, boxes = target[images, 0].long(), target[images, 1:]
        crops = normalised(self.crop(self.grey(x), images, boxes))
        self._sums = self._sums.to(x.device).index_add(0, labels, crops)
        self._seen.append(target[images])

    @torch.no_grad()
    def conclude(self) -> None:
        """Take over the mean templates."""
        if not self._seen:
            return
        seen = torch.cat(self._seen)
        self.take_sizes(seen[:, 0].long(), seen[:, 1:])
        self.templates.copy_(normalised(self._sums))
        self._sums, self._seen = torch.zeros_like(self._sums), []
