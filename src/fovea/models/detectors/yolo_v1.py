"""Provide a single-stage detector on one map, after YOLO: Redmon et al. (2016), https://arxiv.org/abs/1506.02640."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou

from fovea.models.detectors._base import Candidates, Objects, most_alike
from fovea.models.detectors._grid import ANCHORS, Grid, GridDetector
from fovea.ops.box_suppress import rows

CANDIDATES = 400  # of an image, before non-maximum suppression


class YOLOv1(GridDetector):
    """Say of each anchor of a cell whether an object is centred there and where exactly, of a cell its class.

    Losses are summed over an image and averaged over images.

    Args:
        backbone, stride, hidden, drop_rate, anchors, negative_below, negative_weight: see `GridDetector`.
        weights: of the losses of confidence, offsets and classes.
        num_classes, score_threshold, nms_threshold, max_detections: see `Detector`.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        num_classes: int,
        in_channels: int = 3,
        stride: int = 32,
        hidden: int = 128,
        drop_rate: float = 0.3,
        anchors: Sequence[Sequence[float]] = ANCHORS,
        negative_below: float = 0.5,
        negative_weight: float = 0.5,
        weights: Sequence[float] = (1.0, 5.0, 1.0),
        score_threshold: float = 0.01,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__(
            backbone=backbone, classes=num_classes, in_channels=in_channels, stride=stride, hidden=hidden,
            drop_rate=drop_rate, anchors=anchors, negative_below=negative_below,
            negative_weight=negative_weight, num_classes=num_classes, score_threshold=score_threshold,
            nms_threshold=nms_threshold, max_detections=max_detections,
        )  # fmt: skip
        self.weights = tuple(weights)

    def get_classifier(self) -> nn.Module:
        """Return the last layer, which other classes need anew."""
        return self.head[-1]

    def raw(self, x: Tensor) -> Grid:
        """Run backbone and head."""
        return self.grid(self.map(x), x.shape[2:])

    def losses(self, raw: Grid, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """Return the losses of confidence, offsets and classes."""
        found = self.assign(raw, objects)
        image, _, row, column = found.at
        label = F.cross_entropy(raw.logits[image, row, column], found.label, reduction="sum")
        parts = {**self.place_losses(raw, found), "class": label / len(raw.confidence)}
        return {name: w * part for (name, part), w in zip(parts.items(), self.weights, strict=True)}

    def split(self, raw: Grid) -> list[Grid]:
        """Return what the head says of each image on its own."""
        return self.split_grid(raw)

    @torch.no_grad()
    def candidates(self, raw: Grid) -> Candidates:
        """Decode the boxes, and score the most certain by confidence times class."""
        boxes = self.decode(raw.offset, raw).flatten(1, 3)  # (B, A h w, 4)
        best, label = raw.logits.softmax(dim=-1).max(dim=-1)  # (B, h, w)
        score = (raw.confidence.sigmoid() * best[:, None]).flatten(1)
        label = label[:, None].expand_as(raw.confidence).flatten(1)
        top, order = score.topk(min(CANDIDATES, score.shape[1]), dim=1)
        return Candidates(rows(boxes, order), top, label.gather(1, order))

    def anchor_boxes(self, raw: Grid) -> Tensor:
        """Return the anchors of all cells (A h w, 4)."""
        return self.places(raw)

    def place(self, raw: Grid, box: Tensor, label: Tensor) -> Tensor:
        """Return the anchor (B,) of a cell whose own box is most like each one, and the more certain."""
        boxes = self.decode(raw.offset, raw).flatten(1, 3)  # (B, A h w, 4)
        overlap = torch.stack([box_iou(one[None], own)[0] for one, own in zip(box, boxes, strict=True)])
        return most_alike(overlap, raw.confidence.sigmoid().flatten(1))

    def logit(self, raw: Grid, place: Tensor, label: Tensor) -> Tensor:
        """Return the logit of the confidence and that of a class at an anchor of each image, summed (B,)."""
        confidence = raw.confidence.flatten(1).gather(1, place[:, None])[:, 0]
        cells = raw.logits.flatten(1, 2)  # (B, h w, K)
        image = torch.arange(len(place), device=place.device)
        return confidence + cells[image, place % cells.shape[1], label]

    def layers(self, raw: Grid, place: Tensor) -> list[str]:
        """Return the one map that the head reads."""
        return ["map"] * len(place)
