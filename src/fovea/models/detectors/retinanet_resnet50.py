"""Provide torchvision's RetinaNet on ResNet-50, with its weights from COCO: Lin et al. (2017)."""

from __future__ import annotations

from functools import partial

from torch import nn
from torchvision.models.detection import RetinaNet_ResNet50_FPN_V2_Weights, retinanet_resnet50_fpn_v2

from fovea.models._hub import fetch
from fovea.models._weights import adapt_first_conv, load_weights
from fovea.models.detectors._base import Anchored


class RetinaNetResNet50(Anchored):
    """torchvision's net in its second version (AP 41.5 on COCO, as it says), for classes of one's own.

    Backbone, pyramid and the layers that find boxes keep the weights from COCO; the last layer of the classes
    is new unless there are 91 of them, as in torchvision.

    Args:
        pretrained: fetch torchvision's weights, or take them from torch's cache.
        checkpoint: a file of weights instead.
        num_classes, score_threshold, nms_threshold, max_detections: see `Detector`.

    Raises:
        FileNotFoundError: weights that are neither cached nor within reach.
        ValueError: a checkpoint of another net.
    """

    backbone_name = "net.backbone.body"

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        pretrained: bool = False,
        checkpoint: str | None = None,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__(
            num_classes=num_classes, score_threshold=score_threshold, nms_threshold=nms_threshold,
            max_detections=max_detections,
        )  # fmt: skip
        weights = RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1
        self.net = retinanet_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=num_classes)
        if in_channels != 3:
            self.net.backbone.body.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        if pretrained and checkpoint is None:
            checkpoint = str(fetch("retinanet_resnet50_fpn_v2", weights.url))
        if checkpoint is not None:
            colours = partial(adapt_first_conv, layer="backbone.body.conv1", in_channels=in_channels)
            head = ["head.classification_head.cls_logits"]
            load_weights(self.net, checkpoint, head=head, prepare=colours)
        self.pretrained_cfg = {
            "mean": self.net.transform.image_mean,
            "std": self.net.transform.image_std,
            "interpolation": "bilinear",
        }

    def get_classifier(self) -> nn.Module:
        """Return the last layer of the classes: what other classes need anew."""
        return self.net.head.classification_head.cls_logits
