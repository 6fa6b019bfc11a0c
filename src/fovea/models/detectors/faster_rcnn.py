"""Provide Faster R-CNN on a feature pyramid: Ren et al. (2015), https://arxiv.org/abs/1506.01497."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection import faster_rcnn as torchvision_faster_rcnn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign, box_iou, clip_boxes_to_image, roi_align
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from fovea.models.detectors._base import (
    Candidates,
    Detector,
    Objects,
    Pyramid,
    image_list,
    most_alike,
    shifted,
)
from fovea.ops.box_suppress import rows, suppressed

RATIOS = (0.5, 1.0, 2.0)  # height by width
LEVELS = 4
SIDE = 7  # of the map that a region is pooled to
STRIDES, CANONICAL = (8, 16, 32), 224  # of the levels; pixels of a region that belongs to stride 16
SMALLEST = 0.01  # pixels of a box


class Shared(NamedTuple):
    """What both stages read."""

    images: Tensor  # (B, C, H, W)
    features: OrderedDict[str, Tensor]


class FasterRCNN(Detector):
    """Propose regions by a small net, then classify and shift the boxes of the best by a second one.

    torchvision's net with heads that fit a small backbone: its own box head has 13.9 million multiplications
    for each of 512 regions an image, far more than MobileNetV2 itself.

    Args:
        backbone: maps images to maps at strides 8, 16 and 32, such as `strided_maps.StridedMaps`.
        channels: of the pyramid.
        hidden: units of the two layers of the box head.
        smallest_anchor: side in pixels of the anchors of the finest level; each level doubles it.
        regions: of an image that train the box head, a quarter of them with an object.
        proposals: of an image that the second stage sees.
        num_classes, score_threshold, nms_threshold, max_detections: see `Detector`.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        num_classes: int,
        channels: int = 64,
        hidden: int = 256,
        smallest_anchor: float = 24.0,
        regions: int = 64,
        proposals: int = 200,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__(
            num_classes=num_classes, score_threshold=score_threshold, nms_threshold=nms_threshold,
            max_detections=max_detections,
        )  # fmt: skip
        pyramid = Pyramid(maps=backbone, channels=channels, extra=LastLevelMaxPool())
        sizes = tuple((smallest_anchor * 2**level,) for level in range(LEVELS))
        self.net = torchvision_faster_rcnn.FasterRCNN(
            pyramid,
            rpn_anchor_generator=AnchorGenerator(sizes, (RATIOS,) * LEVELS),
            rpn_pre_nms_top_n_train=1000, rpn_pre_nms_top_n_test=1000,
            rpn_post_nms_top_n_train=1000, rpn_post_nms_top_n_test=proposals,
            box_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], output_size=SIDE, sampling_ratio=2),
            box_head=torchvision_faster_rcnn.TwoMLPHead(channels * SIDE**2, hidden),
            box_predictor=torchvision_faster_rcnn.FastRCNNPredictor(hidden, num_classes + 1),
            box_batch_size_per_image=regions,
        )  # fmt: skip
        self.pretrained_cfg = getattr(backbone, "pretrained_cfg", None)

    backbone_name = "net.backbone.maps"

    def get_classifier(self) -> nn.Module:
        """Return the layers of classes and boxes: what other classes need anew."""
        return self.net.roi_heads.box_predictor

    def raw(self, x: Tensor) -> Shared:
        """Compute the pyramid, which both stages read."""
        features = OrderedDict((name, value.float()) for name, value in self.net.backbone(x).items())
        return Shared(x, features)

    def losses(self, raw: Shared, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """Return the losses of both stages; which regions are sampled depends on the random state."""
        true, images = shifted(objects, 1), image_list(raw.images)
        with _sampling(self.net):
            proposals, first = self.net.rpn(images, raw.features, true)
            _, second = self.net.roi_heads(raw.features, proposals, images.image_sizes, true)
        return {**first, **second}

    def anchor_boxes(self, raw: Shared) -> Tensor:
        """Return the anchors of the first stage for one image (A, 4)."""
        return self.net.rpn.anchor_generator(image_list(raw.images[:1]), list(raw.features.values()))[0]

    @torch.no_grad()
    def place(self, raw: Shared, box: Tensor, label: Tensor) -> Tensor:
        """Return the region (B, 4) that the second stage made each box of, or most nearly so."""
        regions, there = self._regions(raw)  # (B, R, 4), (B, R)
        logits, boxes = self._second(raw, regions)
        image = torch.arange(len(box), device=box.device)
        pairs = zip(box, boxes[image, :, label], strict=True)
        overlap = torch.stack([box_iou(one[None], own)[0] for one, own in pairs])  # (B, R)
        certain = logits.softmax(dim=2)[image, :, label + 1]
        best = most_alike(torch.where(there, overlap, -1.0), torch.where(there, certain, -1.0))
        return torch.where(there.any(dim=1, keepdim=True), regions[image, best], box)

    def logit(self, raw: Shared, place: Tensor, label: Tensor) -> Tensor:
        """Return how far the logit of a class is above the background's in a region of each image (B,)."""
        logits = self._second(raw, place[:, None])[0][:, 0]  # (B, K + 1)
        return logits.gather(1, label[:, None] + 1)[:, 0] - logits[:, 0]

    def layers(self, raw: Shared, place: Tensor) -> list[str]:
        """Return the level of the pyramid that each region is pooled from."""
        return [f"net.backbone.fpn.layer_blocks.{int(one)}" for one in _levels(place)]

    def split(self, raw: Shared) -> list[Shared]:
        """Return the pyramid of each image on its own."""
        return [
            Shared(one, OrderedDict((k, v[i : i + 1]) for k, v in raw.features.items()))
            for i, one in enumerate(raw.images.split(1))
        ]

    @torch.no_grad()
    def candidates(self, raw: Shared) -> Candidates:
        """Propose regions, and classify the best: one box of each region for each class."""
        regions, there = self._regions(raw)  # (B, R, 4), (B, R)
        logits, boxes = self._second(raw, regions)
        scores = logits.softmax(dim=2)[..., 1:]  # (B, R, K)
        large = (boxes[..., 2:] - boxes[..., :2]).amin(dim=3) >= SMALLEST
        scores = torch.where(there[..., None] & large, scores, 0.0)
        label = torch.arange(scores.shape[2], device=scores.device).expand_as(scores)
        return Candidates(boxes.flatten(1, 2), scores.flatten(1), label.flatten(1))

    def _regions(self, raw: Shared) -> tuple[Tensor, Tensor]:
        """Return the best proposals of the first stage (B, R, 4), and which of them there are (B, R)."""
        rpn, maps = self.net.rpn, list(raw.features.values())
        objectness, codes = rpn.head(maps)
        (anchors,) = rpn.anchor_generator(image_list(raw.images[:1]), maps)
        levels = [o.shape[1] * o.shape[2] * o.shape[3] for o in objectness]
        found, first = [], 0
        for number, (scores, code, size) in enumerate(zip(objectness, codes, levels, strict=True)):
            top, order = _by_place(scores, 1)[..., 0].topk(min(rpn.pre_nms_top_n(), size), dim=1)
            code = rows(_by_place(code, 4), order)
            boxes = rpn.box_coder.decode_single(code.flatten(0, 1), anchors[first + order.flatten()])
            found.append((boxes.view_as(code), top.sigmoid(), torch.full_like(order, number)))
            first += size
        boxes, scores, level = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
        boxes = clip_boxes_to_image(boxes, _size(raw))
        large = (boxes[..., 2:] - boxes[..., :2]).amin(dim=2) >= rpn.min_size
        scores = torch.where(large, scores, 0.0)
        top, order = suppressed(boxes, scores, level, iou=rpn.nms_thresh, most=rpn.post_nms_top_n())
        return rows(boxes, order), top > 0

    def _second(self, raw: Shared, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, R, K + 1), the background first, and boxes (B, R, K, 4) of regions (B, R, 4)."""
        heads = self.net.roi_heads
        logits, codes = heads.box_predictor(heads.box_head(self._pooled(raw.features, regions)))
        boxes = heads.box_coder.decode_single(codes, regions.flatten(0, 1))  # (B R, 4 (K + 1))
        boxes = boxes.view(*regions.shape[:2], -1, 4)[:, :, 1:]  # without the background
        return logits.view(*regions.shape[:2], -1), clip_boxes_to_image(boxes, _size(raw))

    def _pooled(self, features: OrderedDict[str, Tensor], regions: Tensor) -> Tensor:
        """Return the maps of regions (B, R, 4), each of the level that fits its size (B R, C, SIDE, SIDE)."""
        images = torch.arange(regions.shape[0], device=regions.device)  # len would be a constant of an export
        images = images.to(regions.dtype)[:, None, None].expand(-1, regions.shape[1], 1)
        boxes = torch.cat([images, regions], dim=2).flatten(0, 1)
        level, out = _levels(boxes[:, 1:]), torch.zeros((), device=boxes.device)
        for number, stride in enumerate(STRIDES):
            found = roi_align(features[str(number)], boxes, SIDE, 1 / stride, sampling_ratio=2)
            out = torch.where(level[:, None, None, None] == number, found, out)
        return out


def _levels(boxes: Tensor) -> Tensor:
    """Return the level of the pyramid that fits the size of boxes (N, 4): Lin et al. (2017), equation 1."""
    side = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt()
    return (side / CANONICAL).log2().add(1e-6).floor().clamp(-1, 1) + 1


def _by_place(x: Tensor, size: int) -> Tensor:
    """Bring (B, A size, h, w) to (B, h w A, size), the order of the anchors."""
    return x.unflatten(1, (-1, size)).permute(0, 3, 4, 1, 2).flatten(1, 3)


def _size(raw: Shared) -> tuple[int, int]:
    return raw.images.shape[2], raw.images.shape[3]


@contextmanager
def _sampling(net: nn.Module) -> Iterator[None]:
    """Have both stages sample regions, as in training; neither has layers that differ then."""
    stages: list[nn.Module] = [net.rpn, net.roi_heads]  # type: ignore[list-item]
    before = [stage.training for stage in stages]
    for stage in stages:
        stage.train()
    try:
        yield
    finally:
        for stage, mode in zip(stages, before, strict=True):
            stage.train(mode)
