"""Provide SSDLite: Liu et al. (2016), https://arxiv.org/abs/1512.02325, light as in Sandler et al. (2018)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import ssd, ssdlite
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.ops import box_iou, clip_boxes_to_image

from fovea.models.detectors._base import Anchored, Candidates, Heads, of_label
from fovea.ops.box_suppress import rows

EXTRA = (256, 128, 128)  # widths of the coarser maps
RATIOS = [2, 3]  # width by height, beside squares and the inverse


class SSDLite(Anchored):
    """Classify and shift six default boxes at each place of six maps, with depthwise convolutions.

    torchvision's head and losses, on the maps at strides 8, 16 and 32 of any backbone and three coarser ones.

    Args:
        backbone: maps images to maps at strides 8, 16 and 32, such as `strided_maps.StridedMaps`.
        min_ratio, max_ratio: sides of the boxes of the finest and the coarsest map, as shares of the image.
        num_classes, score_threshold, nms_threshold, max_detections: see `Detector`.
    """

    first_label = 1  # 0 is the background

    def __init__(
        self,
        *,
        backbone: nn.Module,
        num_classes: int,
        min_ratio: float = 0.1,
        max_ratio: float = 0.9,
        score_threshold: float = 0.02,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__(
            num_classes=num_classes, score_threshold=score_threshold, nms_threshold=nms_threshold,
            max_detections=max_detections,
        )  # fmt: skip
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
        maps = _Maps(backbone, norm)
        boxes = DefaultBoxGenerator([RATIOS] * len(maps.widths), min_ratio=min_ratio, max_ratio=max_ratio)
        head = ssdlite.SSDLiteHead(maps.widths, boxes.num_anchors_per_location(), num_classes + 1, norm)
        self.net = ssd.SSD(maps, boxes, (1, 1), num_classes + 1, head=head)
        self.pretrained_cfg = getattr(backbone, "pretrained_cfg", None)

    def get_classifier(self) -> nn.Module:
        """Return the layers of the classes: what other classes need anew."""
        return self.net.head.classification_head

    def _layer(self, level: int) -> str:
        """Name the depthwise convolution that the class is read from at a level, of 1 pixel at least two."""
        return f"net.head.classification_head.module_list.{min(level, 2)}.0"

    def _logits(self, raw: Heads, label: Tensor) -> Tensor:
        """Return how far the logit of a class is above that of the background (B, A)."""
        logits = raw.outputs["cls_logits"]
        return of_label(logits, label + 1) - logits[..., 0]

    def _certainty(self, raw: Heads, label: Tensor) -> Tensor:
        return of_label(raw.outputs["cls_logits"].log_softmax(dim=-1), label + 1)

    def _losses(
        self, raw: Heads, objects: Sequence[Mapping[str, Tensor]], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        matched = [
            self.net.proposal_matcher(box_iou(one["boxes"], raw.anchors))
            if len(one["boxes"])
            else torch.full((len(raw.anchors),), -1, device=raw.anchors.device)
            for one in objects
        ]
        return self.net.compute_loss(objects, raw.outputs, anchors, matched)

    @torch.no_grad()
    def candidates(self, raw: Heads) -> Candidates:
        """Return the most certain anchors of each class."""
        scores = raw.outputs["cls_logits"].softmax(dim=2)[..., self.first_label :]  # (B, A, K)
        top, anchor = scores.transpose(1, 2).topk(min(self.net.topk_candidates, scores.shape[1]), dim=2)
        label = torch.arange(scores.shape[2], device=top.device)[:, None].expand_as(anchor)
        anchor = anchor.flatten(1)  # (B, N)
        codes = rows(raw.outputs["bbox_regression"], anchor)
        boxes = self.decode(codes.flatten(0, 1), raw.anchors[anchor.flatten()])
        boxes = clip_boxes_to_image(boxes.view_as(codes), raw.size)
        return Candidates(boxes, top.flatten(1), label.flatten(1))


class _Maps(nn.Module):
    """The maps of a backbone and coarser ones, each by a stride of 2."""

    def __init__(self, maps: nn.Module, norm: Any) -> None:
        super().__init__()
        self.maps = maps
        widths = list(maps.channels.values())  # type: ignore[operator]
        self.widths = [*widths, *EXTRA]
        pairs = zip([widths[-1], *EXTRA], EXTRA, strict=False)
        self.extra = nn.ModuleList([ssdlite._extra_block(i, o, norm) for i, o in pairs])

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return the maps from fine to coarse."""
        found = list(self.maps(x))
        for block in self.extra:
            found.append(block(found[-1]))
        return OrderedDict((str(i), m) for i, m in enumerate(found))
