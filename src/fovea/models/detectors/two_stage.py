"""Provide the two-stage detector of courses, after Faster R-CNN: Ren et al. (2015), https://arxiv.org/abs/1506.01497."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fovea.models.detectors._base import Candidates, Objects
from fovea.models.detectors._grid import ANCHORS, Grid, GridDetector
from fovea.models.detectors._samples import classify, jittered, sample
from fovea.ops.box_suppress import rows, suppressed

CANDIDATES = 400  # of an image, before non-maximum suppression
JITTERED = 4  # copies of each true box among the proposals that train
JITTER = 0.1  # how far their sides move, as a share of the box


class Stages(NamedTuple):
    """What the second stage reads."""

    features: Tensor  # (B, C, h, w)
    grid: Grid  # of the first stage


class TwoStage(GridDetector):
    """Propose boxes on one map as YOLO does but without classes, then classify the features in each.

    The second stage is linear – dropout – ReLU – linear on the mean features of a box, for the classes and
    the background. It moves no box: the offsets of the first stage are those of the detections. The score is
    the probability of the class times the confidence of the first stage.

    Args:
        backbone, stride, hidden, drop_rate, anchors, negative_below, negative_weight: see `GridDetector`.
        box_hidden: units of the second stage.
        pooled: positions each way that it sees of a box; 1: the mean alone.
        weights: of the losses of confidence, offsets and classes.
        samples: boxes of an image that train the second stage.
        negative_ratio: of them boxes of the background for each one with an object, at most.
        proposals: of an image that the second stage sees.
        proposal_overlap: of two proposals that overlap more, the less certain is dropped.
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
        box_hidden: int = 128,
        pooled: int = 1,
        anchors: Sequence[Sequence[float]] = ANCHORS,
        negative_below: float = 0.5,
        negative_weight: float = 0.5,
        weights: Sequence[float] = (1.0, 5.0, 1.0),
        samples: int = 32,
        negative_ratio: float = 1.0,
        proposals: int = 50,
        proposal_overlap: float = 0.7,
        score_threshold: float = 0.01,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__(
            backbone=backbone, classes=0, in_channels=in_channels, stride=stride, hidden=hidden,
            drop_rate=drop_rate, anchors=anchors, negative_below=negative_below,
            negative_weight=negative_weight, num_classes=num_classes, score_threshold=score_threshold,
            nms_threshold=nms_threshold, max_detections=max_detections,
        )  # fmt: skip
        self.weights = tuple(weights)
        self.samples, self.negative_ratio, self.pooled = samples, negative_ratio, pooled
        self.proposals, self.proposal_overlap = proposals, proposal_overlap
        self.box_head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(self.map_channels * pooled**2, box_hidden),
            nn.Dropout(drop_rate),
            nn.ReLU(),
            nn.Linear(box_hidden, num_classes + 1),  # the background is last
        )

    def get_classifier(self) -> nn.Module:
        """Return the last layer, which other classes need anew."""
        return self.box_head[-1]

    def raw(self, x: Tensor) -> Stages:
        """Run the backbone and the first stage."""
        features = self.map(x)
        return Stages(features, self.grid(features, x.shape[2:]))

    def losses(self, raw: Stages, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """Return the losses of both stages; which boxes train depends on the random state."""
        found = self.place_losses(raw.grid, self.assign(raw.grid, objects))
        boxes = [
            torch.cat([one[sure > 0], jittered(true["boxes"].float(), times=JITTERED, share=JITTER)])
            for one, sure, true in zip(*self.propose(raw.grid), objects, strict=True)
        ]
        drawn = sample(
            boxes, objects, positive=0.5, negative=0.5, number=self.samples, ratio=self.negative_ratio,
            background=self.num_classes,
        )  # fmt: skip
        label = F.cross_entropy(self._classes(raw, drawn.boxes), drawn.labels, reduction="sum")
        parts = {**found, "class": label / max(1, len(drawn.labels))}
        return {name: w * part for (name, part), w in zip(parts.items(), self.weights, strict=True)}

    def split(self, raw: Stages) -> list[Stages]:
        """Return what the first stage says of each image on its own."""
        grids = self.split_grid(raw.grid)
        return [Stages(*one) for one in zip(raw.features.split(1), grids, strict=True)]

    @torch.no_grad()
    def propose(self, raw: Grid) -> tuple[Tensor, Tensor]:
        """Return the most certain boxes (B, P, 4), whatever they show, and how certain; 0 behind them."""
        boxes = self.decode(raw.offset, raw).flatten(1, 3)  # (B, A h w, 4)
        score = raw.confidence.sigmoid().flatten(1)
        top, order = score.topk(min(CANDIDATES, score.shape[1]), dim=1)
        boxes, alike = rows(boxes, order), torch.zeros_like(order)
        top, order = suppressed(boxes, top, alike, iou=self.proposal_overlap, most=self.proposals)
        return rows(boxes, order), top

    @torch.no_grad()
    def candidates(self, raw: Stages) -> Candidates:
        """Classify the proposals."""
        boxes, confidence = self.propose(raw.grid)
        shares = self._classes(raw, list(boxes)).softmax(dim=1)[:, : self.num_classes]
        score, label = shares.unflatten(0, boxes.shape[:2]).max(dim=2)
        return Candidates(boxes, score * confidence, label)

    def anchor_boxes(self, raw: Stages) -> Tensor:
        """Return the anchors of the first stage (A h w, 4)."""
        return self.places(raw.grid)

    def _classes(self, raw: Stages, boxes: Sequence[Tensor]) -> Tensor:
        """Return the logits of the boxes of all images (N, K + 1)."""
        height, width = raw.grid.size
        cells = raw.features.new_tensor([raw.features.shape[3] / width, raw.features.shape[2] / height] * 2)
        places = [box * cells for box in boxes]  # in cells of the map
        size = (self.pooled, self.pooled)
        return classify(self.box_head, raw.features.float(), places, size=size).float()
