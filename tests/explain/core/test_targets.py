import pytest
import torch

from fovea.explain.core.targets import ClassScore, Probability, pin, take, tile

pytestmark = pytest.mark.slow

LOGITS = torch.tensor([[1.0, 3.0, 2.0], [5.0, 0.0, 4.0]])


def test_one_class_a_class_each_and_the_predicted():
    assert ClassScore(2)(LOGITS).tolist() == [2.0, 4.0]
    assert ClassScore(torch.tensor([0, 2]))(LOGITS).tolist() == [1.0, 4.0]
    assert ClassScore([0, 2])(LOGITS).tolist() == [1.0, 4.0]
    assert ClassScore()(LOGITS).tolist() == [3.0, 5.0]


def test_probability_is_of_the_same_class_and_has_the_gradient_of_softmax():
    logits = LOGITS.clone().requires_grad_()
    score = Probability(1)(logits)
    torch.testing.assert_close(score, LOGITS.softmax(1)[:, 1])
    (gradient,) = torch.autograd.grad(score.sum(), logits)
    p = LOGITS.softmax(1)
    torch.testing.assert_close(gradient, p[:, 1:2] * (torch.eye(3)[1] - p))


def test_pin_settles_the_predicted_class_and_keeps_the_kind():
    other = LOGITS.flip(1)
    for target in (None, ClassScore(), Probability()):
        settled = pin(target, LOGITS)
        reads = type(target)([1, 0]) if target else ClassScore([1, 0])
        assert torch.equal(settled(other), reads(other))
    named = ClassScore(2)
    assert pin(named, LOGITS) is named
    own = lambda output: output[:, 0]  # noqa: E731
    assert pin(own, LOGITS) is own and take(own, torch.tensor([0])) is own


def test_tile_follows_whole_rounds_of_the_batch():
    settled = pin(None, LOGITS)
    assert tile(settled, batch=2, length=6)(LOGITS.repeat(3, 1)).tolist() == [3.0, 5.0] * 3
    assert take(settled, torch.tensor([1, 1]))(LOGITS[[1, 1]]).tolist() == [5.0, 5.0]


def test_wrong_outputs_and_classes_are_named():
    with pytest.raises(ValueError, match=r"class 3 .* 3\b"):
        ClassScore(3)(LOGITS)
    with pytest.raises(ValueError, match=r"class -1"):
        ClassScore(-1)(LOGITS)
    with pytest.raises(ValueError, match=r"3 classes for 2 images"):
        ClassScore([0, 1, 2])(LOGITS)
    with pytest.raises(ValueError, match=r"\(1, 3, 4, 4\)"):
        ClassScore(0)(torch.zeros(1, 3, 4, 4))
