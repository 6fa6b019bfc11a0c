"""Provide FCOS, a detector without anchors: Tian et al. (2019), https://arxiv.org/abs/1904.01355."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import fcos as torchvision_fcos
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fovea.models.detectors._base import Anchored, Heads, Pyramid

STRIDES = (8, 16, 32, 64, 128)


class FCOS(Anchored):
    """Classify each place of a feature pyramid and measure its distance to the four sides of its box.

    torchvision's net with narrower heads. An object belongs to the level that its size in strides says.

    Args:
        backbone: maps images to maps at strides 8, 16 and 32, such as `strided_maps.StridedMaps`.
        channels: of the pyramid and of the heads, a multiple of 32, 64 at least.
        num_classes, score_threshold, nms_threshold, max_detections: see `Detector`.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        num_classes: int,
        channels: int = 64,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.6,
        max_detections: int = 100,
    ) -> None:
        super().__init__(
            num_classes=num_classes, score_threshold=score_threshold, nms_threshold=nms_threshold,
            max_detections=max_detections,
        )  # fmt: skip
        if channels < 64 or channels % 32:
            raise ValueError(f"channels={channels} must be a multiple of 32, 64 at least")
        pyramid = Pyramid(maps=backbone, channels=channels, extra=LastLevelP6P7(channels, channels))
        places = AnchorGenerator(tuple((s,) for s in STRIDES), ((1.0,),) * len(STRIDES))
        self.net = torchvision_fcos.FCOS(pyramid, num_classes, anchor_generator=places)
        self.pretrained_cfg = getattr(backbone, "pretrained_cfg", None)

    def get_classifier(self) -> nn.Module:
        """Return the last layer of the classes: what other classes need anew."""
        return self.net.head.classification_head.cls_logits

    def scores(self, outputs: dict[str, Tensor]) -> Tensor:
        """Return the geometric mean of the probability of a class and of the centredness."""
        return (outputs["cls_logits"].sigmoid() * outputs["bbox_ctrness"].sigmoid()).sqrt()

    def decode(self, codes: Tensor, anchors: Tensor) -> Tensor:
        """Go from the centres to the four sides."""
        return self.net.box_coder.decode(codes, anchors)

    def _losses(
        self, raw: Heads, objects: Sequence[Mapping[str, Tensor]], anchors: list[Tensor]
    ) -> dict[str, Tensor]:
        return self.net.compute_loss(objects, raw.outputs, anchors, raw.levels)

    def anchor_boxes(self, raw: Heads) -> None:
        """Return None: what torchvision calls anchors here are places, which have no size."""

    def _logits(self, raw: Heads, label: Tensor) -> Tensor:
        """Return the logits of a class and of lying in the middle of the box, summed (B, A)."""
        return super()._logits(raw, label) + raw.outputs["bbox_ctrness"][..., 0]

    def _certainty(self, raw: Heads, label: Tensor) -> Tensor:
        centre = F.logsigmoid(raw.outputs["bbox_ctrness"][..., 0])
        return (F.logsigmoid(super()._logits(raw, label)) + centre) / 2
