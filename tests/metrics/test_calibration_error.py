import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torchmetrics.classification import MulticlassCalibrationError

from fovea.metrics.calibration import CalibrationError
from fovea.tasks.classification.calibration import reliability


def logits(count=500, classes=7, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(count, classes, generator=draw), torch.randint(classes, (count,), generator=draw)


def measured(preds, target, sizes, **kw):
    metric = CalibrationError(**kw)
    for p, t in zip(preds.split(sizes), target.split(sizes), strict=True):
        metric.update(p, t)
    return metric.compute()


@pytest.mark.parametrize("bins", [1, 10, 15, 40])
def test_it_equals_torchmetrics_on_probabilities(bins):
    preds, target = logits()
    theirs = MulticlassCalibrationError(num_classes=7, n_bins=bins, norm="l1")(preds.softmax(1), target)
    torch.testing.assert_close(measured(preds, target, 500, bins=bins), theirs)


def test_by_hand():
    preds = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.55, 0.45]]).log()
    target = torch.tensor([0, 1, 1, 0])
    # bins of width 1/2: all confidences in the second: accuracy 3/4, confidence (0.9+0.9+0.7+0.55)/4
    torch.testing.assert_close(measured(preds, target, 4, bins=2), torch.tensor(0.7625 - 0.75))
    # bins of width 1/5: 0.55 in the third, 0.7 in the fourth, twice 0.9 in the fifth
    expected = (abs(1 - 0.55) + abs(1 - 0.7) + abs(1 - 1.8)) / 4
    torch.testing.assert_close(measured(preds, target, 4, bins=5), torch.tensor(expected))


def test_no_bit_depends_on_how_images_are_batched():
    preds, target = logits()
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    one = measured(preds, target, 500)
    assert torch.equal(one, measured(preds, target, 64)) and torch.equal(
        one, measured(preds, target, [499, 1])
    )
    assert torch.equal(one, measured(preds[order], target[order], 33))


def test_logits_between_zero_and_one_are_still_logits():
    preds, target = torch.tensor([[0.9, 0.1]]), torch.tensor([0])
    torch.testing.assert_close(measured(preds, target, 1), 1 - preds.softmax(1)[0, 0])


def test_certainty_counts_and_nan_does_not():
    preds = torch.tensor([[200.0, 0.0], [0.0, 200.0], [float("nan"), 0.0]])
    assert measured(preds, torch.tensor([0, 0, 0]), 3) == 0.5
    assert measured(preds, torch.tensor([0, 1, 0]), 3) == 0


def test_it_equals_the_diagram_of_the_report():
    preds, target = logits()
    probs = preds.softmax(1).numpy()
    found = reliability(probs.max(1), probs.argmax(1) == target.numpy())
    assert found.ece == pytest.approx(float(measured(preds, target, 500)), abs=1e-7)
    assert found.images.sum() == 500
    np.testing.assert_allclose(
        found.mean, [(probs.argmax(1) == target.numpy()).mean(), probs.max(1).mean()], atol=1e-6
    )


def test_refuses_no_bins():
    with pytest.raises(ValueError, match="bins=0"):
        CalibrationError(bins=0)


def _rank(rank, path, results):
    torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    preds, target = logits(101)
    metric = CalibrationError()
    for start in range(rank, 101, 14):
        rows = slice(start, start + 14, 2) if rank == 0 else slice(start, start + 13, 2)
        metric.update(preds[rows], target[rows])
    results.put((rank, float(metric.compute()), float(metric.images.sum())))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_with_uneven_parts_give_the_same_bits(tmp_path):
    context = mp.get_context("spawn")
    results = context.Queue()
    ranks = [context.Process(target=_rank, args=(r, tmp_path / "store", results)) for r in (0, 1)]
    for process in ranks:
        process.start()
    found = [results.get(timeout=120) for _ in ranks]
    for process in ranks:
        process.join()
    preds, target = logits(101)
    assert {value for _, value, _ in found} == {float(measured(preds, target, 101))}
