from functools import partial

import pytest
import torch
from torchvision.ops import box_iou

from fovea.models.cnn import CNN
from fovea.models.detectors.faster_rcnn import FasterRCNN
from fovea.models.detectors.fcos import FCOS
from fovea.models.detectors.rcnn import RCNN
from fovea.models.detectors.retinanet import RetinaNet
from fovea.models.detectors.sliding_window import SlidingWindow
from fovea.models.detectors.ssdlite import SSDLite
from fovea.models.detectors.two_stage import TwoStage
from fovea.models.detectors.yolo_v1 import YOLOv1
from fovea.models.strided_maps import StridedMaps
from fovea.models.timm import create
from fovea.optim.finetune import Finetune
from fovea.tasks.detection.task import Detection

DETECTORS = {
    "retinanet": lambda maps: RetinaNet(backbone=maps, num_classes=3, channels=32),
    "fcos": lambda maps: FCOS(backbone=maps, num_classes=3),
    "ssdlite": lambda maps: SSDLite(backbone=maps, num_classes=3),
    "faster_rcnn": lambda maps: FasterRCNN(backbone=maps, num_classes=3, channels=32, hidden=32),
    "yolo_v1": lambda maps: YOLOv1(backbone=maps, num_classes=3, stride=16),
    "two_stage": lambda maps: TwoStage(backbone=maps, num_classes=3, stride=16, pooled=2),
    "rcnn": lambda _: RCNN(
        backbone=create(name="mobilenetv3_small_050", num_classes=0),
        num_classes=3, mean=[0.5] * 3, std=[0.25] * 3, crop=32, colours=("rgb",), proposals=40,
    ),
    "sliding_window": lambda _: SlidingWindow(
        classifier=partial(CNN, widths=[8, 16]), num_classes=3, window=16, aspects=(0.7, 1.0)
    ),
}  # fmt: skip
of_each = pytest.mark.parametrize("name", DETECTORS)
BOXES = torch.tensor([[8.0, 8, 40, 56], [50, 20, 90, 60]])


def build(name):
    torch.manual_seed(0)
    return DETECTORS[name](StridedMaps(name="mobilenetv3_small_050"))


def objects(boxes=BOXES, labels=(2, 0)):
    return {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}


NONE = objects(torch.zeros(0, 4), ())


@of_each
def test_losses_and_detections_come_from_one_forward(name):
    """Of any size of image, also where no image has an object; every parameter is trained."""
    net = build(name).train()
    raw = net.raw(torch.randn(2, 3, 72, 104))  # no multiples of the strides
    losses = net.losses(raw, [objects(), NONE])
    assert all(value.ndim == 0 and bool(value.isfinite()) for value in losses.values()) and len(losses) > (
        name != "sliding_window"
    )
    sum(losses.values()).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []
    empty = net.losses(net.raw(torch.randn(2, 3, 64, 64)), [NONE, NONE])
    assert all(bool(value.isfinite()) for value in empty.values())
    found = net.eval().detect(raw)
    assert found.shape == (2, 100, 6)
    there = found[..., 4] > 0
    boxes, sides = found[there][:, :4], torch.tensor([104.0, 72, 104, 72])
    assert bool(((boxes >= 0) & (boxes <= sides)).all()) and bool((found[..., 4].diff(dim=1) <= 0).all())
    assert set(found[there][:, 5].tolist()) <= {0.0, 1.0, 2.0}
    assert not bool(found[~there].any())


@of_each
def test_the_loss_of_validation_does_not_depend_on_the_batch(name):
    """Also where one image has many objects and another none."""
    task = Detection(net=build(name)).eval()
    images = torch.randn(3, 3, 64, 96)
    many = objects(BOXES.repeat(4, 1) + 3 * torch.arange(8)[:, None], (0, 1, 2, 0, 1, 2, 0, 1))
    boxes, labels = zip(*((one["boxes"], one["labels"]) for one in (objects(), NONE, many)), strict=True)

    def loss(rows):
        batch = {"image": images[rows], "boxes": boxes[rows], "labels": labels[rows]}
        return task.step(batch)["loss"].detach()

    alone = torch.stack([loss(slice(i, i + 1)) for i in range(3)])
    torch.testing.assert_close(loss(slice(0, 3)), alone.mean(), rtol=1e-4, atol=1e-4)


@of_each
def test_the_head_of_the_classes_is_what_other_classes_need_anew(name):
    net = build(name)
    head = {n for n, _ in net.named_parameters()} & Finetune(unfreeze_epoch=None).trainable(net, 0)
    assert head and not any("maps.net" in n or n.startswith("backbone.net") for n in head)


@pytest.mark.slow
@of_each
def test_a_detector_learns_one_image(name):
    net = build(name).train()
    image = torch.zeros(1, 3, 96, 96)
    for box, value in zip(BOXES.long().tolist(), (2.0, -2.0), strict=True):
        image[..., box[1] : box[3], box[0] : box[2]] = value
    image = image.repeat(2, 1, 1, 1) + 0.05 * torch.randn(2, 3, 96, 96)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(150):
        optimizer.zero_grad()
        losses = net.losses(net.raw(image), [objects()] * 2)
        sum(losses.values()).backward()
        optimizer.step()
    found = net.detect(net.raw(image))[0, :2]
    order = found[:, 0].argsort()
    assert bool(
        (box_iou(found[order, :4], BOXES).diagonal() > (0.5 if name == "sliding_window" else 0.7)).all()
    )
    assert found[order, 5].tolist() == [2.0, 0.0] and bool((found[:, 4] > 0.3).all())


def test_yolo_decodes_what_it_assigns():
    """What the head should say of each object gives just its boxes back."""
    net = build("yolo_v1")
    raw = net.raw(torch.randn(2, 3, 72, 104))
    found = net.assign(raw, [objects(), NONE])
    image, _, row, column = found.at
    assert image.tolist() == [0, 0] and not bool(found.negative[found.at].any())
    raw.confidence.data.fill_(-9)
    raw.confidence.data[found.at], raw.offset.data[found.at] = 9.0, found.offset
    raw.logits.data[image, row, column, found.label] = 30.0
    decoded = net.detect(raw)
    torch.testing.assert_close(decoded[0, :2, :4].sort(dim=0)[0], BOXES.sort(dim=0)[0], atol=1e-3, rtol=0)
    assert sorted(decoded[0, :2, 5].tolist()) == [0.0, 2.0] and not bool(decoded[1].any())
    assert not bool((decoded[0, 2:, 4] > 0).any())


def test_of_two_objects_at_one_place_the_larger_has_the_anchor():
    net = build("yolo_v1")
    twins = objects(torch.tensor([[10.0, 10, 42, 42], [9.0, 9, 43, 43], [60, 10, 92, 42]]), (0, 1, 2))
    found = net.assign(net.raw(torch.randn(1, 3, 72, 104)), [twins])
    assert sorted(found.label.tolist()) == [1, 2]


def test_a_stride_that_the_backbone_lacks_is_refused():
    with pytest.raises(ValueError, match="stride=4: the backbone has maps at 8, 16, 32"):
        YOLOv1(backbone=StridedMaps(name="mobilenetv3_small_050"), num_classes=2, stride=4)


CERTAINTY = {  # of a detection, from the logit of its class and from the other factor of its score
    "retinanet": lambda net, raw, b, place, label: raw.outputs["cls_logits"][b, place, label].sigmoid(),
    "fcos": lambda net, raw, b, place, label: (
        raw.outputs["cls_logits"][b, place, label].sigmoid()
        * raw.outputs["bbox_ctrness"][b, place, 0].sigmoid()
    ).sqrt(),
    "ssdlite": lambda net, raw, b, place, label: raw.outputs["cls_logits"][b, place].softmax(0)[label + 1],
    "yolo_v1": lambda net, raw, b, place, label: (
        raw.confidence[b].flatten()[place].sigmoid()
        * raw.logits[b].flatten(0, 1)[place % raw.logits[b, ..., 0].numel()].softmax(0)[label]
    ),
}


def test_a_net_whose_boxes_come_from_nowhere_else_says_so():
    net = build("sliding_window")
    with pytest.raises(ValueError, match="SlidingWindow does not say where"):
        net.place(net.raw(torch.randn(1, 3, 64, 64)), BOXES[:1], torch.tensor([0]))


@pytest.mark.parametrize("name", [*CERTAINTY, "faster_rcnn"])
def test_the_place_of_a_detection_is_the_one_that_it_came_from(name):
    """Its score follows from what the heads say there, and gradients go from its logit to the image."""
    net = build(name).eval()
    for module in net.modules():
        module.score_thresh = module.score_threshold = 0.0  # an untrained net is certain of nothing
    if name == "fcos":  # whose first boxes have no area
        torch.nn.init.constant_(net.net.head.regression_head.bbox_reg.bias, 2.0)
    image = torch.randn(2, 3, 64, 96).requires_grad_()
    raw = net.raw(image)
    found = net.detect(raw)[:, 3]  # the fourth of each image
    box, label = found[:, :4], found[:, 5].long()
    place = net.place(raw, box, label)
    logit = net.logit(raw, place, label)
    (gradient,) = torch.autograd.grad(logit.sum(), image)
    assert logit.shape == (2,) and bool(gradient.abs().amax(dim=(1, 2, 3)).gt(0).all())
    if name == "faster_rcnn":  # with two logits of one region the score is known but for the other classes
        logits = net._second(raw, place[:, None])[0][:, 0]
        expected = logits.softmax(1).gather(1, label[:, None] + 1)[:, 0]
    else:
        made = zip(place, label, strict=True)
        expected = torch.stack([CERTAINTY[name](net, raw, b, p, k) for b, (p, k) in enumerate(made)])
    torch.testing.assert_close(expected, found[:, 4], atol=1e-5, rtol=1e-4)
    modules, layers = dict(net.named_modules()), net.layers(raw, place)
    assert len(layers) == 2 and all(path in modules for path in layers)


@of_each
def test_anchors_are_boxes_around_all_places_of_the_image(name):
    net = build(name)
    anchors = net.anchor_boxes(net.raw(torch.randn(2, 3, 64, 96)))
    assert (anchors is None) == (name in ("fcos", "rcnn", "sliding_window"))
    if anchors is not None:
        middle, sides = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
        assert bool((sides > 0).all()) and 60 < float(middle[:, 0].max()) <= 96
        assert 40 < float(middle[:, 1].max()) <= 64
