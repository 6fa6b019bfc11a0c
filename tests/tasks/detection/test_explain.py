import copy

import pytest
import torch

from fovea.explain.core.class_choice import by_layer
from fovea.explain.core.targets import ClassScore, pin, take
from fovea.explain.methods.cam import CAM
from fovea.explain.methods.grad_cam import GradCAM
from fovea.explain.methods.saliency import Saliency
from fovea.models.detectors.retinanet import RetinaNet
from fovea.models.strided_maps import StridedMaps
from fovea.tasks.detection.explain import BoxSelector, with_raw_output

CLASSES = ["cat", "dog", "box-2"]
UNKNOWN = torch.tensor([-1, -1])


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    maps = StridedMaps(name="mobilenetv3_small_050")
    return RetinaNet(backbone=maps, num_classes=3, channels=32, score_threshold=0.0).eval()


@pytest.fixture(scope="module")
def image():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def test_boxes_are_chosen_by_rank_number_and_class(net, image):
    output, found = with_raw_output(net)(image), net(image)

    def chosen(target):
        return BoxSelector(classes=CLASSES, target=target).select(output, UNKNOWN)

    first = BoxSelector(classes=CLASSES).predicted(output)
    assert chosen("predicted") == [[one] for one in first] == [row[:1] for row in chosen("top-3")]
    assert [one.number for one in chosen("top-3")[1]] == [1, 2, 3]
    assert [row[0].number for row in chosen("box-3")] == [3, 3] and chosen("box-101") == [[], []]
    for target in ("dog", 1, "1"):
        for row, (one,) in zip(found, chosen(target), strict=True):
            at = int((row[:, 5] == 1).nonzero()[0, 0])
            assert one.number == at + 1 and one.label == 1 and one.name == "dog"
            assert one.probability == pytest.approx(float(row[at, 4]))
            assert one.box == pytest.approx(row[at, :4].tolist())
    assert chosen("box-2")[0][0].label == 2  # a class that is called so
    for target, words in (("true", "several classes"), ("box-0", "box-1"), ("dgo", "'dog'.*box-2, top-3")):
        with pytest.raises(ValueError, match=words):
            BoxSelector(classes=CLASSES, target=target)


def test_what_reads_logits_is_told_that_a_detector_has_none(net, image):
    for use in (ClassScore(0), ClassScore().pin):
        with pytest.raises(ValueError, match="a detector gives boxes, not one logit for each class"):
            use(with_raw_output(net)(image))


def test_the_score_is_the_logit_of_the_detection_also_where_it_is_gone(net, image):
    explained, selector = with_raw_output(net), BoxSelector(classes=CLASSES, target="top-2")
    second = [row[1] for row in selector.select(explained(image), UNKNOWN)]
    target = selector.target(second)
    scores = target(explained(image))
    torch.testing.assert_close(scores.sigmoid(), torch.tensor([one.probability for one in second]))
    assert pin(target, explained(image)) is target
    torch.testing.assert_close(
        take(target, torch.tensor([1, 0, 1]))(explained(image[[1, 0, 1]])), scores[[1, 0, 1]]
    )
    copied = copy.deepcopy(explained)  # as a test of randomised weights does
    torch.nn.init.zeros_(copied.net.head.classification_head.cls_logits.weight)
    assert not torch.allclose(target(copied(image)), scores)
    torch.testing.assert_close(target(explained(image)), scores)
    changed = target(explained(torch.zeros_like(image)))
    assert changed.shape == (2,) and not torch.allclose(changed, scores)


def test_maps_are_of_the_level_that_decides_and_leave_the_net_alone(net, image):
    explained, selector = with_raw_output(net), BoxSelector(classes=CLASSES, target="top-30")
    boxes = [row[r] for r in range(30) for row in selector.select(explained(image), UNKNOWN)[:1]]
    groups = by_layer(boxes)
    assert len(groups) > 1 and sorted(i for rows in groups for i in rows) == list(range(30))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for rows in groups:
        one = boxes[rows[0]]
        target = selector.target([one])
        assert target.layer == one.layer and one.layer.startswith("net.backbone.fpn.layer_blocks.")
        for method in (GradCAM(), Saliency()):
            values = method(explained, image[:1], target)
            assert values.shape == (1, 64, 96) and bool(values.isfinite().all())
        gradient = Saliency()(explained, image[:1], target)[0]
        y, x = divmod(int(gradient.argmax()), 96)
        x1, y1, x2, y2 = one.box
        assert x1 - 48 <= x <= x2 + 48 and y1 - 48 <= y <= y2 + 48
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(net(image), net(image)) and net.forward.__func__ is type(net).forward


def test_images_without_a_box_say_so_and_what_needs_logits_is_refused(net, image):
    net.score_threshold = 1.0
    try:
        explained = with_raw_output(net)
        selector = BoxSelector(classes=CLASSES)
        output = explained(image)
        assert selector.select(output, UNKNOWN) == [[], []]
        nothing = selector.predicted(output)
        assert [(one.label, one.name, one.probability) for one in nothing] == [(-1, "nothing found", 0.0)] * 2
        assert selector.target(nothing)(output).shape == (2,)
        with pytest.raises(ValueError, match="one map: name a layer"):
            CAM()(explained, image, selector.target(nothing))
    finally:
        net.score_threshold = 0.0
    with pytest.raises(ValueError, match="takes a classifier"):
        explained(image).softmax(1)
