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
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign, box_iou, clip_boxes_to_image
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from fovea.models.detectors._base import Detector, Objects, Pyramid, image_list, most_alike, packed, shifted

RATIOS = (0.5, 1.0, 2.0)  # height by width
LEVELS = 4
SIDE = 7  # of the map that a region is pooled to


class Shared(NamedTuple):
    """What both stages read."""

    images: ImageList
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
        score_threshold: less certain detections are dropped.
        nms_threshold: of two boxes of one class that overlap more, the less certain is dropped.
        max_detections: of an image.
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
        super().__init__()
        self.num_classes, self.max_detections = num_classes, max_detections
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
            box_batch_size_per_image=regions, box_score_thresh=score_threshold, box_nms_thresh=nms_threshold,
            box_detections_per_img=max_detections,
        )  # fmt: skip
        self.pretrained_cfg = getattr(backbone, "pretrained_cfg", None)

    backbone_name = "net.backbone.maps"

    @property
    def backbone(self) -> nn.Module:  # type: ignore[override]
        """The net that was trained elsewhere."""
        return self.net.backbone.maps

    def get_classifier(self) -> nn.Module:
        """Return the layers of classes and boxes: what other classes need anew."""
        return self.net.roi_heads.box_predictor

    def raw(self, x: Tensor) -> Shared:
        """Compute the pyramid, which both stages read."""
        features = OrderedDict((name, value.float()) for name, value in self.net.backbone(x).items())
        return Shared(image_list(x), features)

    def losses(self, raw: Shared, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """Return the losses of both stages; which regions are sampled depends on the random state."""
        true = shifted(objects, 1)
        with _stages(self.net, training=True):
            proposals, first = self.net.rpn(raw.images, raw.features, true)
            _, second = self.net.roi_heads(raw.features, proposals, raw.images.image_sizes, true)
        return {**first, **second}

    def anchor_boxes(self, raw: Shared) -> Tensor:
        """Return the anchors of the first stage for one image (A, 4)."""
        one = self.split(raw)[0]
        return self.net.rpn.anchor_generator(one.images, list(one.features.values()))[0]

    @torch.no_grad()
    def place(self, raw: Shared, box: Tensor, label: Tensor) -> Tensor:
        """Return the region (B, 4) that the second stage made each box of, or most nearly so."""
        sizes, stage = raw.images.image_sizes, self.net.roi_heads
        with _stages(self.net, training=False):
            proposals, _ = self.net.rpn(raw.images, raw.features)
        logits, shift = self._second(raw, proposals)
        counts = [len(one) for one in proposals]
        boxes = stage.box_coder.decode(shift, proposals).split(counts)  # (regions, K + 1, 4) of each image
        chosen = []
        for i, (own, certain) in enumerate(zip(boxes, logits.softmax(dim=1).split(counts), strict=True)):
            k = int(label[i]) + 1
            overlap = box_iou(box[i, None], clip_boxes_to_image(own[:, k], sizes[i]))[0]
            if not counts[i]:
                chosen.append(box[i])
                continue
            chosen.append(proposals[i][most_alike(overlap[None], certain[None, :, k])[0]])
        return torch.stack(chosen)

    def logit(self, raw: Shared, place: Tensor, label: Tensor) -> Tensor:
        """Return how far the logit of a class is above the background's in a region of each image (B,)."""
        logits, _ = self._second(raw, list(place.split(1)))
        return logits.gather(1, label[:, None] + 1)[:, 0] - logits[:, 0]

    def _second(self, raw: Shared, regions: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logits of classes and the shifts of boxes of all regions."""
        stage = self.net.roi_heads
        pooled = stage.box_roi_pool(raw.features, regions, raw.images.image_sizes)
        return stage.box_predictor(stage.box_head(pooled))

    def layers(self, raw: Shared, place: Tensor) -> list[str]:
        """Return the level of the pyramid that each region is pooled from."""
        pool = self.net.roi_heads.box_roi_pool
        if pool.map_levels is None:
            pool(raw.features, list(place.split(1)), raw.images.image_sizes)
        return [f"net.backbone.fpn.layer_blocks.{int(one)}" for one in pool.map_levels(list(place.split(1)))]

    def split(self, raw: Shared) -> list[Shared]:
        """Return the pyramid of each image on its own."""
        images = raw.images.tensors.split(1)
        return [
            Shared(image_list(one), OrderedDict((k, v[i : i + 1]) for k, v in raw.features.items()))
            for i, one in enumerate(images)
        ]

    @torch.no_grad()
    def detect(self, raw: Shared) -> Tensor:
        """Propose regions, and classify the best."""
        with _stages(self.net, training=False):
            proposals, _ = self.net.rpn(raw.images, raw.features)
            found, _ = self.net.roi_heads(raw.features, proposals, raw.images.image_sizes)
        return packed(found, self.max_detections, first_label=1)


@contextmanager
def _stages(net: nn.Module, *, training: bool) -> Iterator[None]:
    """Have both stages sample regions for training, or keep the best; neither has layers that differ then."""
    stages: list[nn.Module] = [net.rpn, net.roi_heads]  # type: ignore[list-item]
    before = [stage.training for stage in stages]
    for stage in stages:
        stage.train(training)
    try:
        yield
    finally:
        for stage, mode in zip(stages, before, strict=True):
            stage.train(mode)
