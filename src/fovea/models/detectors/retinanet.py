"""Provide RetinaNet: Lin et al. (2017), https://arxiv.org/abs/1708.02002."""

from __future__ import annotations

from functools import partial

from torch import nn
from torchvision.models.detection import retinanet as torchvision_retinanet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fovea.models.detectors._base import Anchored, Pyramid

RATIOS = (0.5, 1.0, 2.0)  # height by width
LEVELS = 5


class RetinaNet(Anchored):
    """Classify and shift nine anchors at each place of a feature pyramid, trained with the focal loss.

    torchvision's net with narrower heads, which on a small backbone would cost most of the time: 64 channels
    instead of 256, normalised in groups.

    Args:
        backbone: maps images to maps at strides 8, 16 and 32, such as `strided_maps.StridedMaps`.
        channels: of the pyramid and of the heads, a multiple of 8.
        smallest_anchor: side in pixels of the smallest anchors of the finest level; each level doubles it.
        num_classes, score_threshold, nms_threshold, max_detections: see `Detector`.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        num_classes: int,
        channels: int = 64,
        smallest_anchor: float = 24.0,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__(
            num_classes=num_classes, score_threshold=score_threshold, nms_threshold=nms_threshold,
            max_detections=max_detections,
        )  # fmt: skip
        pyramid = Pyramid(maps=backbone, channels=channels, extra=LastLevelP6P7(channels, channels))
        sizes = tuple(
            tuple(smallest_anchor * 2 ** (level + k / 3) for k in range(3)) for level in range(LEVELS)
        )
        anchors = AnchorGenerator(sizes, (RATIOS,) * LEVELS)
        head = torchvision_retinanet.RetinaNetHead(
            channels, 3 * len(RATIOS), num_classes, norm_layer=partial(nn.GroupNorm, 8)
        )
        self.net = torchvision_retinanet.RetinaNet(pyramid, num_classes, anchor_generator=anchors, head=head)
        self.pretrained_cfg = getattr(backbone, "pretrained_cfg", None)

    def get_classifier(self) -> nn.Module:
        """Return the last layer of the classes: what other classes need anew."""
        return self.net.head.classification_head.cls_logits
