"""Collect what the head of a model sees of many images, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fovea.explain.core.model import Subject
from fovea.explain.studies.features import head_input


@dataclass(frozen=True, kw_only=True)
class Features:
    """Hold N images as features, without their pixels.

    Attributes:
        rows: which of the subject's images these are.
        features: (N, D).
        label: (N,), the true class where it is known, else the predicted one.
        known: (N,), whether it is the true one.
        predicted: (N,).
    """

    rows: list[int]
    features: Tensor
    label: Tensor
    known: Tensor
    predicted: Tensor

    @property
    def source(self) -> str:
        """Say what the classes are."""
        known = int(self.known.sum())
        if known == len(self.known):
            return "true classes"
        if not known:
            return "predicted classes, as the true ones are not known"
        return f"true classes of {known} images, predicted ones of the others"


def collect(subject: Subject, limit: int | None) -> Features:
    """Run the images, or the first `limit`, batch by batch."""
    rows: list[int] = []
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for views in subject.batches(limit):
        features, output = head_input(subject.net, views.image.to(subject.device))
        predicted = torch.tensor([best.label for best in subject.questions.best(output)])
        rows += views.rows
        parts.append((features.float().cpu(), predicted, views.label.cpu()))
    if not rows:
        raise ValueError("there are no images to take features of")
    features, predicted, label = (torch.cat(part) for part in zip(*parts, strict=True))
    known = label >= 0
    return Features(
        rows=rows,
        features=features,
        label=torch.where(known, label, predicted),
        known=known,
        predicted=predicted,
    )
