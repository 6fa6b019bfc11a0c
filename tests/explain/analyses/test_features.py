import numpy as np
import pytest
import torch
from torch import nn

from fovea.explain.analyses.features import head_input, neighbours, pca, tsne
from helpers.explained_nets import untouched
from helpers.inner_nets import linear, make, pictures

pytestmark = pytest.mark.slow


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["tiny", "resnet", "vit"])
def test_features_are_the_input_of_the_last_layer(name):
    net, image = make(name), pictures(7)
    with untouched(net):
        found, output = head_input(net, image)
    assert found.shape == (7, net.num_features) and not found.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(net.get_classifier()(found), output, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(net.eval()(image), output)


def test_features_of_a_linear_net_are_the_pixels_and_others_need_two_parts():
    torch.testing.assert_close(head_input(linear(), pictures(2))[0], pictures(2).flatten(1))
    with pytest.raises(ValueError, match="forward_features"):
        head_input(nn.Linear(2, 2), pictures(1))


@pytest.mark.parametrize("shape", [(60, 12), (12, 60), (30, 30)])
def test_pca_is_numpys_svd_in_double_precision(shape):
    given = draw(*shape) * torch.linspace(1, 4, shape[1]) + 3
    plane, share = pca(given, 4)
    centred = given.double().numpy() - given.double().numpy().mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:4] * np.sign(np.take_along_axis(axes[:4], np.abs(axes[:4]).argmax(1)[:, None], 1))
    np.testing.assert_allclose(plane.numpy(), centred @ axes.T, atol=1e-7)  # the largest entry is positive
    np.testing.assert_allclose(share.numpy(), sizes[:4] ** 2 / (sizes**2).sum())


def test_pca_of_a_plane_and_of_a_point():
    plane = draw(50, 2) @ draw(2, 9, seed=1)
    assert pca(plane, 3)[1][:2].sum().item() == pytest.approx(1) and pca(plane, 3)[1][2] < 1e-9
    assert not pca(torch.ones(6, 4), 2)[1].any()


def test_tsne_separates_what_is_apart_and_repeats():
    centres = 20 * draw(3, 60)
    given = (centres[:, None] + draw(3, 20, 60, seed=1)).flatten(0, 1)
    label = torch.arange(3).repeat_interleave(20)
    found = tsne(given, perplexity=10)
    assert found.shape == (60, 2) and found.isfinite().all()
    nearest = neighbours(found, k=5, metric="euclidean")
    assert (label[nearest.index] == label[:, None]).all()
    assert torch.equal(found, tsne(given, perplexity=10))
    with pytest.raises(ValueError, match="perplexity=30"):
        tsne(draw(20, 5))


@pytest.mark.parametrize("metric", ["cosine", "euclidean", lambda a, b: abs(a - b).sum()])
def test_neighbours_are_those_of_brute_force(metric):
    rows = draw(45, 6).double().numpy()
    apart = rows[:, None] - rows
    size = np.linalg.norm(rows, axis=1)
    far = {"cosine": 1 - rows @ rows.T / np.outer(size, size), "euclidean": np.sqrt((apart**2).sum(-1))}
    far = far.get(metric, np.abs(apart).sum(-1)) + np.diag([np.inf] * 45)
    found = neighbours(draw(45, 6), k=9, metric=metric)
    order = np.argsort(far, axis=1)[:, :9]
    assert (found.index.numpy() == order).all()
    np.testing.assert_allclose(found.distance.numpy(), np.take_along_axis(far, order, 1), atol=1e-9)


def test_of_equal_distances_the_lower_row_comes_first_and_no_row_is_its_own_neighbour():
    ring = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1], [0, 0], [1, 0]]).repeat(40, 1)  # 240 rows
    found = neighbours(ring, k=239, metric="euclidean")
    rows = torch.arange(240)
    assert (found.index != rows[:, None]).all() and (found.index.sort(1).values.sum(1) == 28680 - rows).all()
    for index, distance in zip(found.index, found.distance, strict=True):
        same = distance.diff() == 0
        assert (index.diff()[same] > 0).all() and (distance.diff() >= 0).all()
    with pytest.raises(ValueError, match="k=240"):
        neighbours(ring, k=240)


def test_no_more_than_the_memory_of_scikit_learn_is_compared_at_once():
    import sklearn

    rows = draw(300, 3)
    whole = neighbours(rows, k=4)
    with sklearn.config_context(working_memory=0.05):  # MiB: 300 distances of 20 rows
        pieces = neighbours(rows, k=4)
    assert torch.equal(whole.index, pieces.index)
