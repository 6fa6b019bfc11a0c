import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fovea.explain.studies.features import cosine, euclidean, features, neighbours, pca, tsne
from helpers.inner_nets import linear, make, pictures, untouched

pytestmark = pytest.mark.slow


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["cnn", "tiny", "resnet", "vit"])
def test_features_are_what_the_last_layer_sees(name):
    net, image = make(name), pictures(7)
    with untouched(net):
        found = features(net, image, batch_size=3)
    assert found.shape == (7, net.num_features) and not found.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(net.get_classifier()(found), net.eval()(image), atol=1e-5, rtol=1e-4)


def test_loaders_of_every_kind():
    net, image = make("cnn"), pictures(7)
    expected = features(net, image)
    plain = DataLoader(TensorDataset(image, torch.arange(7)), batch_size=2)
    torch.testing.assert_close(features(net, plain), expected)
    torch.testing.assert_close(features(net, ({"image": x} for x in image.split(4))), expected)
    torch.testing.assert_close(features(linear(), image), image.flatten(1))


def test_features_need_a_net_and_images():
    with pytest.raises(ValueError, match="forward_features"):
        features(nn.Linear(2, 2), pictures(1))
    with pytest.raises(ValueError, match="uint8"):
        features(make("cnn"), torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="no images"):
        features(make("cnn"), [])


@pytest.mark.parametrize("shape", [(60, 12), (12, 60), (30, 30)])
def test_pca_is_numpys_svd(shape):
    given = draw(*shape) * torch.linspace(1, 4, shape[1]) + 3
    found = pca(given, 4)
    centred = given.double().numpy() - given.double().numpy().mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign((found.axes.numpy() * axes[:4]).sum(1))
    np.testing.assert_allclose(found.axes.numpy(), signs[:, None] * axes[:4], atol=1e-8)
    np.testing.assert_allclose(found.project(given).numpy(), centred @ axes[:4].T * signs, atol=1e-7)
    np.testing.assert_allclose(found.variance.numpy(), sizes[:4] ** 2 / (shape[0] - 1))
    np.testing.assert_allclose(found.share.numpy(), sizes[:4] ** 2 / (sizes**2).sum())
    assert (found.axes.gather(1, found.axes.abs().argmax(1, keepdim=True)) > 0).all()


def test_pca_of_a_plane_has_two_axes():
    given = draw(50, 2) @ draw(2, 9, seed=1)
    assert pca(given, 3).share[:2].sum().item() == pytest.approx(1) and pca(given, 3).share[2] < 1e-9
    with pytest.raises(ValueError, match="k=10"):
        pca(given, 10)


def test_tsne_separates_what_is_apart_and_repeats():
    centres = 20 * draw(3, 60)
    given = (centres[:, None] + draw(3, 20, 60, seed=1)).flatten(0, 1)
    label = torch.arange(3).repeat_interleave(20)
    found = tsne(given, perplexity=10)
    assert found.shape == (60, 2) and found.isfinite().all()
    nearest = neighbours(found, found, k=5, metric=euclidean, skip_self=True)
    assert (label[nearest.index] == label[:, None]).all()
    assert torch.equal(found, tsne(given, perplexity=10))


def test_tsne_says_what_is_wrong(monkeypatch):
    with pytest.raises(ValueError, match="perplexity=30"):
        tsne(draw(20, 5))
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(ImportError, match="scikit-learn"):
        tsne(draw(50, 5))


@pytest.mark.parametrize("block", [7, 1000])
@pytest.mark.parametrize("metric", [cosine, euclidean])
def test_neighbours_are_those_of_brute_force(metric, block):
    query, bank = draw(23, 6), draw(45, 6, seed=1)
    a, b = query.double().numpy(), bank.double().numpy()
    if metric is cosine:
        size = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
        far = 1 - a @ b.T / size
    else:
        far = np.sqrt(((a[:, None] - b) ** 2).sum(-1))
    found = neighbours(query, bank, k=9, metric=metric, block=block)
    order = np.argsort(far, axis=1)[:, :9]
    assert (found.index.numpy() == order).all()
    np.testing.assert_allclose(found.distance.numpy(), np.take_along_axis(far, order, 1), atol=1e-9)


@pytest.mark.parametrize("block", [4, 100])
def test_a_point_is_no_neighbour_of_itself(block):
    bank = draw(15, 6)
    bank[11] = bank[3]  # a copy is
    found = neighbours(bank, bank, k=14, metric=euclidean, skip_self=True, block=block)
    rows = torch.arange(15)
    assert (found.index != rows[:, None]).all()
    assert found.index[3, 0] == 11 and found.index[11, 0] == 3
    assert (found.index.sort(1).values.sum(1) == 105 - rows).all()
    assert neighbours(bank, bank, k=2, block=block).index[3].tolist() == [3, 11]  # ties: the lower row first
    with pytest.raises(ValueError, match="k=15"):
        neighbours(bank, bank, k=15, skip_self=True)


def test_no_more_than_a_block_is_compared_at_once():
    sizes = []

    def watch(a, b):
        sizes.append((len(a), len(b)))
        return euclidean(a, b)

    neighbours(draw(10, 3), draw(25, 3), k=2, metric=watch, block=8)
    assert max(max(s) for s in sizes) <= 8 and sum(a * b for a, b in sizes) == 250
