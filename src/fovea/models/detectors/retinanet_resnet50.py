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
        num_classes: of the labels, without a background.
        pretrained: fetch torchvision's weights, or take them from torch's cache.
        checkpoint: a file of weights instead.
        score_threshold: less certain detections are dropped.
        nms_threshold: of two boxes of one class that overlap more, the less certain is dropped.
        max_detections: of an image.

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
        super().__init__()
        self.num_classes, self.max_detections = num_classes, max_detections
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        weights = RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1
        self.net = retinanet_resnet50_fpn_v2(
            weights=None, weights_backbone=None, num_classes=num_classes, score_thresh=score_threshold,
            nms_thresh=nms_threshold, detections_per_img=max_detections,
        )  # fmt: skip
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

    @property
    def backbone(self) -> nn.Module:  # type: ignore[override]
        """The ResNet."""
        return self.net.backbone.body

    def get_classifier(self) -> nn.Module:
        """Return the last layer of the classes: what other classes need anew."""
        return self.net.head.classification_head.cls_logits
