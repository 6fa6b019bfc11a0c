"""Our detections are those of torchvision's own post-processing, for any heads."""

import pytest
import torch
from torchvision.ops import batched_nms

from fovea.models.detectors._base import image_list
from fovea.models.detectors.faster_rcnn import FasterRCNN
from fovea.models.detectors.fcos import FCOS
from fovea.models.detectors.retinanet import RetinaNet
from fovea.models.detectors.ssdlite import SSDLite
from fovea.models.detectors.yolo_v1 import YOLOv1
from fovea.models.strided_maps import StridedMaps
from fovea.ops.box_suppress import suppressed

LOW = {"score_threshold": 0.005, "num_classes": 3}
DETECTORS = {
    "retinanet": lambda maps: RetinaNet(backbone=maps, channels=32, **LOW),
    "fcos": lambda maps: FCOS(backbone=maps, **LOW),
    "ssdlite": lambda maps: SSDLite(backbone=maps, **LOW),
    "faster_rcnn": lambda maps: FasterRCNN(backbone=maps, channels=32, hidden=32, proposals=50, **LOW),
    "yolo_v1": lambda maps: YOLOv1(backbone=maps, stride=16, **LOW),
}


def theirs(net, raw):
    """Return what torchvision's post-processing finds in each image."""
    host = net.net.roi_heads if isinstance(net, FasterRCNN) else net.net
    host.score_thresh, host.nms_thresh = net.score_threshold, net.nms_threshold
    host.detections_per_img = net.max_detections
    if isinstance(net, FasterRCNN):
        net.net.eval()
        images = image_list(raw.images)
        proposals, _ = net.net.rpn(images, raw.features)
        return net.net.roi_heads(raw.features, proposals, images.image_sizes)[0], 1
    count = len(next(iter(raw.outputs.values())))
    sizes, outputs, anchors = [raw.size] * count, raw.outputs, [raw.anchors] * count
    if not isinstance(net, SSDLite):
        outputs = {name: list(value.split(raw.levels, dim=1)) for name, value in outputs.items()}
        anchors = [list(one.split(raw.levels)) for one in anchors]
    return net.net.postprocess_detections(outputs, anchors, sizes), net.first_label


@pytest.mark.parametrize("name", [n for n in DETECTORS if n != "yolo_v1"])
def test_detections_are_those_of_torchvision(name):
    torch.manual_seed(3)
    net = DETECTORS[name](StridedMaps(name="mobilenetv3_small_050"))
    for layer in net.get_classifier().modules():  # scores that differ
        if getattr(layer, "bias", None) is not None:
            torch.nn.init.normal_(layer.bias, -2.0 if name != "faster_rcnn" else 0.0, 0.5)
    net.eval()
    with torch.no_grad():
        raw = net.raw(3 * torch.randn(2, 3, 96, 128))
        found, (known, first) = net.detect(raw), theirs(net, raw)
    assert [int((one[:, 4] > 0).sum()) for one in found] == [len(one["scores"]) for one in known]
    assert all(len(one["scores"]) > 20 for one in known)
    for ours, one in zip(found, known, strict=True):
        count = len(one["scores"])
        torch.testing.assert_close(ours[:count, 4], one["scores"])
        rows = torch.cat(
            [one["boxes"], one["scores"][:, None], (one["labels"] - first)[:, None].float()], dim=1
        )
        apart = (ours[:count, None] - rows).abs().amax(dim=2)
        sure = one["scores"] > one["scores"][-1] + 1e-6  # of equal scores at the end either may be cut off
        assert bool((apart.amin(dim=0)[sure] < 1e-3).all()) and bool((apart.amin(dim=1)[sure] < 1e-3).all())


def test_suppression_is_per_image_and_group_and_leaves_out_what_is_none():
    torch.manual_seed(0)
    start = 60 * torch.rand(3, 80, 2)
    boxes = torch.cat([start, start + 5 + 30 * torch.rand(3, 80, 2)], dim=2)
    scores, groups = torch.rand(3, 80), torch.randint(0, 4, (3, 80))
    scores[1], scores[2, ::2] = 0.0, 0.0
    top, order = suppressed(boxes, scores, groups, iou=0.3, most=100)
    assert top.shape == order.shape == (3, 100)
    for i in range(3):
        there = scores[i].nonzero()[:, 0]
        kept = there[batched_nms(boxes[i, there], scores[i, there], groups[i, there], 0.3)]
        assert order[i][top[i] > 0].tolist() == kept.tolist() and (len(kept) == 0) == (i == 1)
