import time

import pytest
import torch
from torchmetrics.classification import MulticlassF1Score

from fovea.metrics.macro_f1 import MacroF1


@pytest.mark.parametrize(("classes", "shown"), [(8, 8), (30, 12), (2, 1)])
def test_it_equals_torchmetrics_over_uneven_batches_also_where_classes_are_absent(classes, shown):
    torch.manual_seed(0)
    preds, target = torch.randn(103, classes), torch.randint(shown, (103,))
    ours, theirs = MacroF1(num_classes=classes), MulticlassF1Score(num_classes=classes, average="macro")
    for p, t in zip(preds.split(40), target.split(40), strict=True):
        ours.update(p, t)
        theirs.update(p, t)
    torch.testing.assert_close(ours.compute(), theirs.compute())


@pytest.mark.alone
def test_a_batch_costs_no_square_of_the_number_of_classes():
    preds, target = torch.randn(64, 20_000), torch.randint(20_000, (64,))
    metric = MacroF1(num_classes=20_000)
    begin = time.perf_counter()
    metric.update(preds, target)
    assert time.perf_counter() - begin < 0.5  # a matrix would take 3 GB and seconds
    assert sum(state.numel() for state in (metric.right, metric.predicted, metric.true)) == 60_000
