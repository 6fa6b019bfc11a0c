"""Draw what a model takes for the essence of a class, by gradient ascent on the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fovea.explain.core.method import explaining
from fovea.explain.core.model import Subject
from fovea.explain.core.pixels import to_uint8
from fovea.explain.studies.ascent import Ascent, Climb, join, visualise_class
from fovea.explain.studies.base import Study
from fovea.explain.studies.names import class_index, class_name, write_table
from fovea.page.blocks import Block, Picture
from fovea.page.image_grid import Tile, grid


class ClassVisualisationStudy(Study):
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

    def __call__(self, subject: Subject, folder: Path) -> Sequence[Block]:
        """Write the montage (png), the last pictures (npy: classes, C, H, W in 0…1) and the scores (csv)."""
        chosen = self._chosen(subject)
        jitter = min(subject.size) // 7 if self.jitter is None else self.jitter
        ascent = replace(self.ascent, jitter=jitter)
        at_once = subject.batch_size
        climb = join(
            visualise_class(
                subject.net, chosen[i : i + at_once], size=subject.size, pixels=subject.pixels, ascent=ascent
            )
            for i in range(0, len(chosen), at_once)
        )
        names = [class_name(subject.classes, label) for label in chosen]
        np.save(folder / "classes.npy", climb.pictures[-1].cpu().numpy())
        self._table(folder, names, climb)
        path = grid(folder / "classes.png", _rows(climb), titles=names)
        caption = (
            "From noise, each picture climbs the logit of its class, with a penalty on its size, jitter "
            "and blur against patterns that no photograph has."
        )
        return [Picture(path, f"classes as {subject.name} sees them", caption)]

    def _chosen(self, subject: Subject) -> list[int]:
        if self.classes is not None:
            named = [self.classes] if isinstance(self.classes, str | int) else self.classes
            return list(dict.fromkeys(class_index(subject.classes, name) for name in named))
        counts = torch.zeros(len(subject.classes), dtype=torch.long)
        with explaining(subject.net), torch.no_grad():
            for views in subject.batches():
                for best in subject.questions.best(subject.net(views.image.to(subject.device))):
                    counts[best.label] += 1
        order = counts.argsort(descending=True, stable=True)
        return order[: min(self.limit, int((counts > 0).sum()))].tolist()

    def _table(self, folder: Path, names: Sequence[str], climb: Climb) -> None:
        rows = (
            {"class": name, "step": step, "logit": float(climb.scores[t, k])}
            for k, name in enumerate(names)
            for t, step in enumerate(climb.iterations)
        )
        write_table(folder / "classes.csv", rows, columns=["class", "step", "logit"])


def _rows(climb: Climb) -> list[list[Tile]]:
    """Lay each class out over the iterations."""
    return [
        [
            Tile(picture=to_uint8(picture), lines=[f"step {step}", f"logit {score:.1f}"])
            for step, picture, score in zip(climb.iterations, pictures, scores, strict=True)
        ]
        for pictures, scores in zip(
            climb.pictures.unbind(1), climb.scores.T.tolist(), strict=True
        )  # of each class (T, C, H, W) and T numbers
    ]
