import pytest
import torch
from sklearn.metrics import top_k_accuracy_score
from torchmetrics.classification import MulticlassAccuracy

from fovea.metrics.top_k import TopKAccuracy, top_k
from fovea.tasks.base import collection


@pytest.mark.parametrize("k", [1, 3, 5])
def test_it_equals_sklearn_over_uneven_batches(k):
    torch.manual_seed(0)
    preds, target = torch.randn(103, 8), torch.randint(8, (103,))
    metric = TopKAccuracy(k=k)
    for p, t in zip(preds.split(40), target.split(40), strict=True):
        metric.update(p, t)
    expected = top_k_accuracy_score(target.numpy(), preds.numpy(), k=k, labels=range(8))
    assert float(metric.compute()) == pytest.approx(expected)


def test_it_is_left_out_where_every_class_is_among_the_five():
    assert top_k(num_classes=5) is None and top_k(num_classes=2) is None
    assert top_k(num_classes=6).k == 5
    with pytest.raises(ValueError, match="k=0"):
        TopKAccuracy(k=0)


def test_a_first_batch_that_is_all_right_does_not_tie_it_to_the_accuracy():
    metrics = collection({"acc": MulticlassAccuracy(num_classes=6, average="micro"), "top5": TopKAccuracy()})
    metrics.update(torch.eye(6), torch.arange(6))
    metrics.update(torch.eye(6), (torch.arange(6) + 1) % 6)
    found = metrics.compute()
    assert found["acc"] == 0.5
    assert found["top5"] > 0.8
