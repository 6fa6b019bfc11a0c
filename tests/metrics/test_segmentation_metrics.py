import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from sklearn.metrics import accuracy_score, f1_score, jaccard_score
from torchmetrics.classification import MulticlassJaccardIndex

from fovea.metrics.segmentation import BoundaryF1, MeanDice, MeanIoU, PixelAccuracy, ThresholdedJaccard
from fovea.ops.boundary import boundary_f1
from fovea.ops.segmentation import confusion, iou_per_class
from fovea.tasks.base import collection

K, COUNT = 5, 11


def maps(seed=0):
    """Return class maps of right and wrong squares; class 4 occurs in one image only, class 3 in none."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randint(3, (COUNT, 4, 4), generator=draw)
    target = coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)
    preds = torch.where(torch.rand(target.shape, generator=draw) < 0.2, (target + 1) % 3, target)
    target[7, :3], target[:, 5, 5] = 4, 255
    return preds, target


def metrics_of_maps():
    metrics = {
        "iou": MeanIoU(num_classes=K),
        "dice": MeanDice(num_classes=K),
        "pixel_acc": PixelAccuracy(num_classes=K),
        "boundary_f1": BoundaryF1(num_classes=K, tolerance=0.05),
        "jaccard_65": ThresholdedJaccard(num_classes=K),
        "jaccard_0": ThresholdedJaccard(num_classes=K, threshold=0.0),
    }
    return collection(metrics)


def measured(preds, target, sizes):
    metrics = metrics_of_maps()
    for p, t in zip(preds.split(sizes), target.split(sizes), strict=True):
        metrics.update(p, t)
    return metrics.compute()


def test_they_are_those_of_sklearn_over_all_pixels():
    preds, target = maps()
    found, known = measured(preds, target, 4), target != 255
    t, p = target[known].numpy(), preds[known].numpy()
    shown = [0, 1, 2, 4]
    assert float(found["iou"]) == pytest.approx(jaccard_score(t, p, labels=shown, average="macro"), rel=1e-6)
    assert float(found["dice"]) == pytest.approx(f1_score(t, p, labels=shown, average="macro"), rel=1e-6)
    assert float(found["pixel_acc"]) == pytest.approx(accuracy_score(t, p), rel=1e-6)
    metric = MeanIoU(num_classes=K)
    metric.update(preds, target)
    theirs = MulticlassJaccardIndex(num_classes=K, average="none", ignore_index=255)(preds, target)
    torch.testing.assert_close(metric.per_class()[shown], theirs[shown])
    assert metric.per_class()[3].isnan()  # theirs says 0


def test_no_bit_depends_on_how_images_are_batched():
    preds, target = maps()
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    whole = measured(preds, target, COUNT)
    for sizes, rows in ((1, slice(None)), ([7, 4], slice(None)), (3, order)):
        found = measured(preds[rows], target[rows], sizes)
        assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_metrics_of_one_matrix_share_it_and_two_thresholds_do_not():
    metrics = metrics_of_maps()
    perfect = maps()[1].clamp(max=4)
    metrics.update(perfect, perfect)  # with equal scores
    groups = sorted(sorted(names) for names in metrics.compute_groups.values())
    assert groups == [["boundary_f1"], ["dice", "iou", "pixel_acc"], ["jaccard_0"], ["jaccard_65"]]
    preds, target = maps()
    metrics.update(preds, target)
    assert metrics.compute()["jaccard_0"] > metrics.compute()["jaccard_65"]


def test_the_measure_of_isic_takes_poor_images_for_missed():
    target = torch.zeros(4, 1, 100).long()
    preds = target.clone()
    target[:3, 0, :100], preds[0, 0, :65], preds[1, 0, :64], preds[2, 0, :90] = 1, 1, 1, 1
    metric = ThresholdedJaccard()
    metric.update(preds, target)  # the fourth shows nothing
    assert float(metric.compute()) == pytest.approx((0.65 + 0 + 0.9) / 3, abs=1e-7)


def test_the_boundary_score_is_a_mean_over_images_then_classes():
    preds, target = maps()
    scores = boundary_f1(preds, target, num_classes=K, tolerance=0.05).numpy()
    metric = BoundaryF1(num_classes=K, tolerance=0.05)
    for p, t in zip(preds.split(4), target.split(4), strict=True):
        metric.update(p, t)
    shown = [0, 1, 2, 4]
    np.testing.assert_allclose(metric.per_class()[shown], np.nanmean(scores[:, shown], axis=0), rtol=1e-6)
    assert float(metric.compute()) == pytest.approx(np.nanmean(scores[:, shown], axis=0).mean(), rel=1e-6)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_measured_is_nan():
    assert all(value.isnan() for value in metrics_of_maps().compute().values())
    preds, target = maps()
    found = measured(preds, torch.full_like(target, 255), COUNT)
    assert all(value.isnan() for value in found.values())


def test_options_are_checked():
    for make, message in (
        (lambda: MeanIoU(num_classes=1), "num_classes=1"),
        (lambda: ThresholdedJaccard(threshold=65), "threshold=65"),
        (lambda: ThresholdedJaccard(positive=2), "positive=2"),
        (lambda: BoundaryF1(num_classes=2, tolerance=3), "tolerance=3"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_a_single_image_is_as_good_as_its_matrix():
    preds, target = maps()
    metric = MeanIoU(num_classes=K)
    metric.update(preds[:1], target[:1])
    torch.testing.assert_close(
        metric.per_class(), iou_per_class(confusion(preds, target, K))[0], equal_nan=True
    )


def _rank(rank, path, results):
    torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    preds, target = maps()
    rows = slice(0, 4) if rank == 0 else slice(4, COUNT)
    found = measured(preds[rows], target[rows], 3)
    results.put({name: float(value) for name, value in found.items()})
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
    expected = {name: float(value) for name, value in measured(*maps(), COUNT).items()}
    assert found == [expected, expected]
