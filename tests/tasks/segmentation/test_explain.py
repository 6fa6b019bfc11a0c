import pytest
import torch
from torch import nn

from fovea.explain.core.targets import pin, take
from fovea.explain.methods.grad_cam import GradCAM
from fovea.tasks.segmentation.explain import ClassArea, MaskSelector

CLASSES = ["background", "cat", "dog"]


def logits(*maps):
    """Return logits (B, 3, 2, 4) whose class maps are these, given as 8 digits."""
    classes = torch.tensor([[int(c) for c in one] for one in maps]).view(-1, 2, 4)
    return nn.functional.one_hot(classes, 3).permute(0, 3, 1, 2).float() * 5


def labels(asked):
    return [[a.label for a in row] for row in asked]


UNKNOWN = torch.tensor([-1, -1, -1])
OUTPUT = logits("00000012", "00022211", "00000000")


def test_the_largest_class_is_asked_about_and_background_last():
    selector = MaskSelector(classes=CLASSES)
    assert labels(selector.select(OUTPUT, UNKNOWN)) == [[1], [2], [0]]
    assert [(b.label, b.name, b.probability) for b in selector.predicted(OUTPUT)] == [
        (1, "cat", 0.125), (2, "dog", 0.375), (0, "background", 1.0),
    ]  # fmt: skip
    assert labels(MaskSelector(classes=CLASSES, target="top-3").select(OUTPUT, UNKNOWN)) == [
        [1, 2, 0], [2, 1, 0], [0, 1, 2],
    ]  # fmt: skip
    assert labels(MaskSelector(classes=["sky", "b", "c"]).select(OUTPUT, UNKNOWN)) == [[0], [0], [0]]


@pytest.mark.parametrize(("target", "wanted"), [("dog", 2), (1, 1), ("1", 1), ("background", 0)])
def test_one_class_by_name_or_index(target, wanted):
    found = MaskSelector(classes=CLASSES, target=target).select(OUTPUT, UNKNOWN)
    assert labels(found) == [[wanted]] * 3
    with pytest.raises(ValueError, match=r"target=dgo .*'dog'"):
        MaskSelector(classes=CLASSES, target="dgo")


def test_the_true_class_is_the_largest_of_the_mask():
    selector = MaskSelector(classes=CLASSES, target="true")
    mask = torch.full((3, 2, 4), 255)
    mask[0, 0] = torch.tensor([0, 0, 0, 2])
    mask[1] = 0
    assert selector.label_of(mask).tolist() == [2, 0, -1]
    assert labels(selector.select(OUTPUT, selector.label_of(mask))) == [[2], [0], []]


def test_the_target_is_the_mask_area_where_the_class_is_predicted():
    selector, output = MaskSelector(classes=CLASSES), torch.randn(3, 3, 2, 4)
    target = selector.target(selector.predicted(output))
    scores = target(output)
    for i, best in enumerate(selector.predicted(output)):
        region = output[i].argmax(0) == best.label
        torch.testing.assert_close(scores[i], output[i, best.label][region].mean())


def test_a_settled_region_stays_and_rows_are_taken_from_it():
    output, changed = torch.randn(3, 3, 2, 4), torch.randn(3, 3, 2, 4)
    target = pin(ClassArea([1, 2, 0]), output)
    rows = torch.tensor([2, 0, 0])
    torch.testing.assert_close(take(target, rows)(changed[rows]), target(changed)[rows])
    assert target.pin(changed) is target and not torch.allclose(
        target(changed), ClassArea([1, 2, 0])(changed)
    )


def test_a_class_that_is_nowhere_is_asked_about_everywhere():
    output = logits("00000000")
    torch.testing.assert_close(ClassArea([2])(output), output[:, 2].mean((1, 2)))


def test_one_logit_stands_for_two_classes():
    output = torch.tensor([2.0, -1.0]).view(1, 1, 1, 2)
    selector = MaskSelector(classes=["background", "lesion"])
    assert selector.predicted(output)[0].probability == 0.5 and selector.predicted(output)[0].label == 1
    assert ClassArea([1])(output).item() == 2.0 and ClassArea([0])(output).item() == 1.0


def test_other_outputs_and_classes_are_refused():
    with pytest.raises(ValueError, match=r"takes logits \(B, K, H, W\)"):
        ClassArea([1])(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="with 3"):
        ClassArea([3])(logits("00000000"))


def test_gradients_reach_the_image():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)).eval()
    image = torch.randn(2, 3, 8, 8)
    selector = MaskSelector(classes=CLASSES)
    maps = GradCAM(layer="1")(net, image, selector.target(selector.predicted(net(image))))
    assert maps.shape == (2, 8, 8) and maps.isfinite().all()
