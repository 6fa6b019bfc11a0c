import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from fovea.ops.segmentation import class_map, confusion, dice_per_class, iou_per_class, pixel_accuracy


def maps(classes=5, size=(3, 9, 7), ignored=0.2, seed=0):
    draw = torch.Generator().manual_seed(seed)
    preds, target = (torch.randint(classes, size, generator=draw) for _ in range(2))
    target[torch.rand(size, generator=draw) < ignored] = 255
    return preds, target


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
def test_counts_of_each_image_are_those_of_sklearn(dtype):
    preds, target = maps()
    counts = confusion(preds.to(dtype), target.to(dtype), 5)
    assert counts.shape == (3, 5, 5) and counts.dtype == torch.int64
    for found, p, t in zip(counts, preds, target, strict=True):
        known = t != 255
        np.testing.assert_array_equal(found, confusion_matrix(t[known], p[known], labels=range(5)))


def test_scores_of_each_class_are_those_of_sklearn():
    preds, target = maps()
    counts, known = confusion(preds, target, 5).sum(0), target != 255
    t, p = target[known].numpy(), preds[known].numpy()
    np.testing.assert_allclose(iou_per_class(counts), jaccard_score(t, p, average=None), rtol=1e-6)
    np.testing.assert_allclose(dice_per_class(counts), f1_score(t, p, average=None), rtol=1e-6)
    assert float(pixel_accuracy(counts)) == pytest.approx((t == p).mean())


def test_a_class_that_neither_shows_is_nan_and_one_that_either_shows_is_not():
    target, preds = torch.tensor([[[0, 0, 1]]]), torch.tensor([[[0, 2, 2]]])
    counts = confusion(preds, target, 4)
    assert iou_per_class(counts)[0].tolist() == pytest.approx([0.5, 0.0, 0.0, float("nan")], nan_ok=True)
    assert dice_per_class(counts)[0].tolist() == pytest.approx([2 / 3, 0.0, 0.0, float("nan")], nan_ok=True)
    nothing = confusion(preds, torch.full_like(target, 255), 4)
    assert nothing.sum() == 0 and iou_per_class(nothing).isnan().all() and pixel_accuracy(nothing).isnan()


def test_single_pixels_and_single_logits():
    assert confusion(torch.ones(2, 1, 1).long(), torch.zeros(2, 1, 1).long(), 2)[:, 0, 1].tolist() == [1, 1]
    logits = torch.randn(2, 1, 3, 4)
    assert torch.equal(class_map(logits), class_map(torch.cat([torch.zeros_like(logits), logits], 1)))
