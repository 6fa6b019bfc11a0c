import numpy as np
import pytest
import torch
from scipy import ndimage

from fovea.ops.boundary import boundary, boundary_f1, radius_of


def blobs(classes=4, size=(2, 30, 41), seed=0):
    """Return smooth class maps."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(classes, *size)), (0, 0, 4, 4))
    return torch.from_numpy(noise.argmax(0))


def edge(region):
    """Return what an erosion takes away, with the border of the image left alone."""
    return region & ~ndimage.binary_erosion(region, border_value=1)


def slow_f1(pred, truth, label, radius):
    """Compute the score of one class in one image by distance transforms."""
    edges = [edge(x == label) for x in (pred, truth)]
    if not any((x == label).any() for x in (pred, truth)):
        return np.nan
    if not edges[0].any() and not edges[1].any():
        return 1.0 if (pred == label).any() and (truth == label).any() else 0.0
    if not edges[0].any() or not edges[1].any():
        return 0.0
    share = [
        (ndimage.distance_transform_edt(~other)[own] <= radius).mean() for own, other in (edges, edges[::-1])
    ]
    return 2 * share[0] * share[1] / sum(share) if sum(share) else 0.0


def test_a_boundary_is_what_an_erosion_of_each_class_takes_away():
    labels = blobs()
    expected = [np.any([edge(x == label) for label in range(4)], axis=0) for x in labels.numpy()]
    np.testing.assert_array_equal(boundary(labels), np.stack(expected))


@pytest.mark.parametrize("tolerance", [0.0, 0.03, 0.06])
def test_scores_are_those_of_distance_transforms(tolerance):
    preds, target = blobs(seed=1), blobs(seed=2)
    preds[0][preds[0] == 3] = 0  # a class that only the truth shows
    target[1], preds[1][preds[1] == 2] = (
        torch.where(target[1] == 2, 1, target[1]),
        1,
    )  # one that neither shows
    radius = radius_of(30, 41, tolerance=tolerance)
    found = boundary_f1(preds, target, num_classes=5, tolerance=tolerance)
    images = zip(preds.numpy(), target.numpy(), strict=True)
    expected = [[slow_f1(p, t, label, radius) for label in range(5)] for p, t in images]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[1, 2].isnan() and found[0, 3] == 0 and 0 < found[0, 1] < 1


def test_the_tolerance_is_a_share_of_the_diagonal_and_at_least_a_pixel():
    assert radius_of(300, 400, tolerance=0.0075) == pytest.approx(3.75)
    assert radius_of(3, 4, tolerance=0.0075) == 1
    target = torch.zeros(1, 40, 40).long()
    target[:, :, 20:] = 1
    tolerance = 2.5 / radius_of(40, 40, tolerance=1)
    for shift, score in ((0, 1.0), (2, 1.0), (3, 0.0)):
        moved = torch.zeros_like(target)
        moved[:, :, 20 + shift :] = 1
        assert boundary_f1(moved, target, num_classes=2, tolerance=tolerance).tolist() == [[score, score]]


def test_a_mirrored_pair_has_the_same_score_and_a_map_itself_1():
    preds, target = blobs(seed=1), blobs(seed=2)
    options = {"num_classes": 4, "tolerance": 0.03}
    found = boundary_f1(preds, target, **options)
    assert torch.equal(found, boundary_f1(preds.flip(1, 2), target.flip(1, 2), **options))
    torch.testing.assert_close(found, boundary_f1(target, preds, **options))
    assert (boundary_f1(target, target, **options) == 1).all()


def test_what_is_ignored_makes_no_boundary_and_is_none():
    target = torch.zeros(1, 20, 20).long()
    target[:, 5:15, 5:15] = 1
    wrong = target.clone()
    wrong[:, :3] = 1  # where the truth does not know
    hidden = target.clone()
    hidden[:, :4] = 255
    scores = boundary_f1(wrong, hidden, num_classes=2, tolerance=0.0)
    assert scores.tolist() == [[1.0, 1.0]]
    ring = target.clone()
    ring[:, 4:16, 4:16] = 255
    ring[:, 7:13, 7:13] = 1  # its boundary is hidden, as in masks of VOC
    assert boundary_f1(target, ring, num_classes=2, tolerance=0.0).isnan().all()
    nothing = torch.full_like(target, 255)
    assert boundary_f1(target, nothing, num_classes=2, tolerance=0.0).isnan().all()


def test_single_pixels_and_full_images():
    one = torch.ones(1, 1, 1).long()
    assert boundary_f1(one, one, num_classes=3, tolerance=0.01)[0].tolist() == pytest.approx(
        [float("nan"), 1.0, float("nan")], nan_ok=True
    )
    assert boundary_f1(one, 0 * one, num_classes=2, tolerance=0.01).tolist() == [[0.0, 0.0]]
