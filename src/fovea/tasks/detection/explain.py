"""Select the boxes of a detector that are explained, each by the logit at the place that it came from."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fovea.explain.core.class_choice import SelectedClass, read_target


class RawDetections:
    """What the heads of a detector say of a batch; the detections in it have no gradients."""

    def __init__(self, net: Any, raw: Any) -> None:
        self.net, self.raw = net, raw

    def found(self) -> Tensor:
        """Return the detections (B, D, 6), after non-maximum suppression."""
        return self.net.detect(self.raw)

    def __getattr__(self, name: str) -> Any:
        """Refuse what tensors have: methods that read logits take no detector."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise ValueError("a detector gives boxes, not one logit for each class: this takes a classifier")


class RawOutput(nn.Module):
    """Make the output of a detector what its heads say; copies of it keep their own layers.

    What looks for the last features finds those of the backbone: the heads run once for each level.
    """

    raw: Any
    backbone: nn.Module

    def forward(self, x: Tensor) -> RawDetections:
        """Run the net on images (B, C, H, W)."""
        return RawDetections(self, self.raw(x))

    def forward_features(self, x: Tensor) -> Any:
        """Return the maps of the backbone."""
        return self.backbone(x)


def with_raw_output(net: nn.Module) -> nn.Module:
    """Return a detector that shares all its layers with `net`, and gives `RawDetections`."""
    twin = copy.copy(net)
    twin.__class__ = type(type(net).__name__, (RawOutput, type(net)), {})
    return twin


@dataclass(frozen=True)
class SelectedBox(SelectedClass):
    """A detection that is explained, and where the heads say it: `Detector.place` of its image."""

    place: Tensor | None = None


class BoxSelector:
    """Select among the detections of each image.

    Args:
        classes: names in the order of the labels.
        target: `predicted` (the most certain detection), `box-2` (the second one), `top-3` (the three most
            certain), a class's name or index (the most certain one of it).
    """

    nothing = "no such box was found"
    of_image = False

    def __init__(self, *, classes: Sequence[str], target: str | int = "predicted") -> None:
        self.classes, text = list(classes), str(target).strip()
        if text == "true":
            raise ValueError(
                "target=true: an image has objects of several classes; give box-1, top-3 or a class"
            )
        number = None if text in self.classes else re.fullmatch(r"box-(\d+)", text)
        if number is not None and int(number[1]) < 1:
            raise ValueError(f"target={text}: boxes count from box-1, the most certain")
        self.first = 0 if number is None else int(number[1]) - 1
        known = "predicted, box-2, top-3"
        self.count, self.label = (1, None) if number else read_target(target, self.classes, others=known)

    def select(self, output: RawDetections, label: Tensor) -> list[list[SelectedClass]]:
        """Return the selected detections of each image: fewer where it has fewer."""
        found = output.found()
        there = found[..., 4] > 0  # (B, D)
        if self.label is not None:
            there &= found[..., 5] == self.label
        rows = [one.nonzero()[:, 0][self.first : self.first + self.count].tolist() for one in there]
        ranks = [
            _selected(output, found, [row[r] if len(row) > r else None for row in rows], self.classes)
            for r in range(max(map(len, rows), default=0))
        ]
        return [[ranks[r][i] for r in range(len(row))] for i, row in enumerate(rows)]

    def predicted(self, output: RawDetections) -> list[SelectedClass]:
        """Return the most certain detection of each image; where there is none it says so."""
        found = output.found()
        rows = [0 if bool(one[0, 4] > 0) else None for one in found]
        return list(_selected(output, found, rows, self.classes))

    def target(self, selected: Sequence[SelectedClass]) -> BoxScore:
        """Return the logits of these detections, at the places that they came from, as the target."""
        boxes = [one for one in selected if isinstance(one, SelectedBox) and one.place is not None]
        layers = {one.layer for one in boxes}
        return BoxScore(
            [max(one.label, 0) for one in boxes],
            torch.stack([one.place for one in boxes if one.place is not None]),
            layer=layers.pop() if len(layers) == 1 else None,
        )


def _selected(
    output: RawDetections, found: Tensor, rows: Sequence[int | None], classes: Sequence[str]
) -> list[SelectedBox]:
    """Return one detection of each image with its place; None stands for none, at any place."""
    chosen = torch.zeros_like(found[:, 0])  # (B, 6)
    for i, d in enumerate(rows):
        if d is not None:
            chosen[i] = found[i, d]
    label = chosen[:, 5].long()
    with torch.no_grad():
        place = output.net.place(output.raw, chosen[:, :4], label)
        layers = output.net.layers(output.raw, place)
    boxes = []
    for d, one, where, layer in zip(rows, chosen.tolist(), place, layers, strict=True):
        if d is None:
            boxes.append(SelectedBox(-1, "nothing found", 0.0, layer, place=where))
            continue
        k = int(one[5])
        name = classes[k] if k < len(classes) else f"class {k}"
        x1, y1, x2, y2, score, _ = one
        boxes.append(SelectedBox(k, name, score, layer, (x1, y1, x2, y2), d + 1, place=where))
    return boxes


class BoxScore:
    """Take the logit of a class at one place of each image: the same in images that were changed.

    Attributes:
        layer: whose map is read there, where it is the same for all images.
    """

    def __init__(self, labels: Sequence[int] | Tensor, place: Tensor, *, layer: str | None = None) -> None:
        self.labels, self.place, self.layer = torch.as_tensor(labels), place, layer

    def __call__(self, output: Any) -> Tensor:
        """Map what the heads say of images to scores (B,)."""
        if not isinstance(output, RawDetections):
            raise ValueError(f"BoxScore takes what a detector's heads say, got a {type(output).__name__}")
        return output.net.logit(output.raw, self.place, self.labels.to(self.place.device))

    def pin(self, output: Any) -> BoxScore:
        """Return itself: the places are settled."""
        return self

    def take(self, rows: Tensor) -> BoxScore:
        """Return the target of the images at `rows`."""
        labels, place = self.labels.to(rows.device)[rows], self.place.to(rows.device)[rows]
        return BoxScore(labels, place, layer=self.layer)
