"""Provide a single-stage detector on one map, after YOLO: Redmon et al. (2016), https://arxiv.org/abs/1506.02640."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms

from fovea.models.detectors._base import Objects, packed
from fovea.models.detectors._grid import ANCHORS, Grid, GridDetector

CANDIDATES = 400  # of an image, before non-maximum suppression


class YOLOv1(GridDetector):
    """Say of each anchor of a cell whether an object is centred there and where exactly, of a cell its class.

    Losses are summed over an image and averaged over images.

    Args:
        backbone, stride, hidden, drop_rate, anchors, negative_below, negative_weight: see `GridDetector`.
        weights: of the losses of confidence, offsets and classes.
        score_threshold: less certain detections are dropped.
        nms_threshold: of two boxes of one class that overlap more, the less certain is dropped.
        max_detections: of an image.
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
            negative_weight=negative_weight,
        )  # fmt: skip
        self.num_classes, self.max_detections, self.weights = num_classes, max_detections, tuple(weights)
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold

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
    def detect(self, raw: Grid) -> Tensor:
        """Decode the boxes, score them by confidence times class, and suppress duplicates."""
        boxes = self.decode(raw.offset, raw).flatten(1, 3)  # (B, A h w, 4)
        best, label = raw.logits.softmax(dim=-1).max(dim=-1)  # (B, h, w)
        score = (raw.confidence.sigmoid() * best[:, None]).flatten(1)
        label = label[:, None].expand_as(raw.confidence).flatten(1)
        top, order = score.topk(min(CANDIDATES, score.shape[1]), dim=1)
        found = []
        for b in range(len(boxes)):
            kept = order[b][top[b] > self.score_threshold]
            kept = kept[batched_nms(boxes[b, kept], score[b, kept], label[b, kept], self.nms_threshold)]
            found.append({"boxes": boxes[b, kept], "scores": score[b, kept], "labels": label[b, kept]})
        return packed(found, self.max_detections)
