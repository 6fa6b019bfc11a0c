"""Hold one model together with the images that it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fovea.explain.core.class_choice import Questions
from fovea.explain.core.method import Method
from fovea.explain.core.pixels import Pixels


@dataclass(frozen=True, kw_only=True)
class Views:
    """Hold some images as the net sees them, with what is known about them.

    Attributes:
        image: (B, C, H, W), normalised, on the CPU.
        rows: which of the subject's images these are; one that could not be read is missing.
        label: (B,) int64, -1 where the class is not known.
        boxes: per image (N, 4), x1 y1 x2 y2 in pixels of `image`; None where none are known.
        box_labels: per image the classes (N,) of the boxes.
        mask: (B, H, W) int64, 255 to be ignored; None where none is known.
    """

    image: Tensor
    rows: list[int]
    label: Tensor
    boxes: list[Tensor] | None = None
    box_labels: list[Tensor] | None = None
    mask: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Hold a model, its classes, and a list of images that are read when they are needed.

    Attributes:
        name: short, and no other subject's of the same call; also the name of a folder.
        net: on `device`; whoever uses it leaves it as it was.
        classes: names in the order of the outputs.
        pixels: between pictures in 0…1 and inputs of the net.
        size: (H, W) of the net's input.
        ids: of the images: paths, or the ids that a data set gives.
        load: reads the images of these rows; what it returns is kept by nobody.
        questions: what is asked about an image: the predicted class, the true one, …
        methods: the methods of this call that give maps, by their names.
    """

    name: str
    net: nn.Module
    device: torch.device
    classes: Sequence[str]
    pixels: Pixels
    size: tuple[int, int]
    ids: Sequence[str]
    load: Callable[[Sequence[int]], Views]
    questions: Questions
    methods: Mapping[str, Method] = field(default_factory=dict)
    batch_size: int = 16

    def batches(self, limit: int | None = None) -> Iterator[Views]:
        """Read the images, or the first `limit`, batch by batch."""
        rows = range(len(self.ids) if limit is None else min(limit, len(self.ids)))
        for start in range(0, len(rows), self.batch_size):
            views = self.load(rows[start : start + self.batch_size])
            if views.rows:
                yield views
