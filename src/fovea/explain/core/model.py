"""A model that is to be explained: as opened, and with its images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fovea.explain.core.class_choice import ClassSelector
from fovea.explain.core.method import Method, explaining
from fovea.explain.core.pixels import Pixels


@dataclass(frozen=True, kw_only=True)
class OpenedModel:
    """A network with its preprocessing and classes, and the data of its run.

    Attributes:
        source: the run or the weights, for people.
        selector: builds the class selector of its task, called with `target`.
        data: sets the data of its run up, called with `data_root` and `all_targets`; None without a run.
    """

    name: str
    net: nn.Module
    classes: list[str]
    preprocessing: dict[str, Any]
    source: str
    selector: Callable[..., ClassSelector]
    data: Callable[..., Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ImageBatch:
    """A batch of images as the net takes them, with their ids, labels and annotations.

    Attributes:
        image: (B, C, H, W), normalised, on the CPU.
        rows: which of the model's images these are; one that could not be read is missing.
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
class ExplainedModel:
    """A model, its classes, and a list of images that are read when they are needed.

    Attributes:
        name: short, and no other model's of the same call; also the name of a folder.
        net: on `device`; whoever uses it leaves it as it was.
        classes: names in the order of the outputs.
        pixels: between pictures in 0…1 and inputs of the net.
        size: (H, W) of the net's input.
        ids: of the images: paths, or the ids that a data set gives.
        load: reads the images of these rows; what it returns is kept by nobody.
        selector: selects the classes that are explained for an image.
        methods: the methods of this call that give maps, by their names.
    """

    name: str
    net: nn.Module
    device: torch.device
    classes: Sequence[str]
    pixels: Pixels
    size: tuple[int, int]
    ids: Sequence[str]
    load: Callable[[Sequence[int]], ImageBatch]
    selector: ClassSelector
    methods: Mapping[str, Method] = field(default_factory=dict)
    batch_size: int = 16

    @property
    def mask_offset(self) -> int:
        """The offset of a class's number in masks, where the background comes first."""
        return 0 if self.classes[0] == "background" else 1

    def output(self, image: Tensor) -> Any:
        """Return the net's output for normalised images (B, C, H, W), without gradients."""
        with explaining(self.net), torch.no_grad():
            return self.net(image.to(self.device))

    def batches(self, limit: int | None = None) -> Iterator[ImageBatch]:
        """Read the images, or the first `limit`, batch by batch."""
        rows = range(len(self.ids) if limit is None else min(limit, len(self.ids)))
        for start in range(0, len(rows), self.batch_size):
            batch = self.load(rows[start : start + self.batch_size])
            if batch.rows:
                yield batch
