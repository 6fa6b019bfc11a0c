import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from fovea.ops.losses import balanced_weights, cross_entropy

WEIGHT = torch.tensor([0.5, 1.0, 2.0, 0.0])


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(12, 4), torch.randint(4, (12,))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_weights_it_is_torchs(batch, smoothing):
    logits, label = batch
    torch.testing.assert_close(
        cross_entropy(logits, label, smoothing=smoothing),
        F.cross_entropy(logits, label, label_smoothing=smoothing),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_it_equals_its_equation_for_labels_and_for_probabilities(batch, smoothing):
    logits, label = batch
    q = F.one_hot(label, 4) * (1 - smoothing) + smoothing / 4
    expected = -(WEIGHT * q * logits.log_softmax(1)).sum(1).mean()
    for target in (label, F.one_hot(label, 4).float()):
        found = cross_entropy(logits, target, weight=WEIGHT, smoothing=smoothing)
        torch.testing.assert_close(found, expected)


def test_the_mean_over_parts_is_that_of_the_whole(batch):
    logits, label = batch
    parts = [
        cross_entropy(*half, weight=WEIGHT) for half in zip(logits.split(6), label.split(6), strict=True)
    ]
    torch.testing.assert_close(sum(parts) / 2, cross_entropy(logits, label, weight=WEIGHT))


def test_balanced_weights_equal_sklearn_and_keep_the_scale():
    labels = np.repeat([0, 1, 2], [50, 30, 7])
    found = balanced_weights(torch.from_numpy(labels), num_classes=3)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(found, expected)
    assert float(found[labels].mean()) == pytest.approx(1)


def test_a_class_without_images_is_refused():
    with pytest.raises(ValueError, match="class 1, 3"):
        balanced_weights(torch.tensor([0, 2, 2]), num_classes=4)
