import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fovea.explain.analyses.filters import (
    FilterAnalysis,
    as_pictures,
    class_weights,
    filter_layer,
    filter_weights,
    hidden_weights,
)
from fovea.models.alexnet import AlexNet
from fovea.models.mlp import MLP
from helpers.explained_nets import untouched
from helpers.inner_nets import linear, make
from helpers.toy_inside import html, toy_model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "path"),
    [("cnn", "stem.0"), ("tiny", "stem.0.0"), ("resnet", "conv1.0"), ("vit", "patch_embed.proj")],
)
def test_the_first_filters_are_the_first_convolutions_weights(name, path):
    net = make(name)
    weight = net.get_submodule(path).weight.detach()
    assert filter_layer(net) == path
    found = as_pictures(filter_weights(net))
    assert found.shape == weight.shape and not found.requires_grad
    assert found.min() >= 0 and found.max() <= 1
    for seen, filter_ in zip(found - 0.5, weight, strict=True):
        assert seen.abs().max() == pytest.approx(0.5)
        torch.testing.assert_close(seen * 2 * filter_.abs().max(), filter_)  # zero is mid-grey


def test_filters_of_another_layer_and_of_none():
    assert filter_weights(make("cnn"), "stages.0.1.0").shape == (12, 8, 3, 3)
    with pytest.raises(ValueError, match="not a 2D convolution"):
        filter_weights(make("cnn"), "head")
    with pytest.raises(ValueError, match=r"stem\.0"):
        filter_weights(make("cnn"), "stm.0")
    with pytest.raises(ValueError, match="no 2D convolution"):
        filter_weights(linear())


def test_a_filter_of_zeros_is_grey():
    net = nn.Conv2d(3, 2, 3)
    nn.init.zeros_(net.weight)
    assert torch.equal(as_pictures(filter_weights(net)), torch.full((2, 3, 3, 3), 0.5))


def test_the_templates_of_softmax_regression_are_its_weights():
    net = linear()
    image = torch.randn(1, 3, 16, 16, requires_grad=True)
    weights = class_weights(net, (3, 16, 16))
    for label in range(5):
        (gradient,) = torch.autograd.grad(net(image)[0, label], image)
        torch.testing.assert_close(weights[label], gradient[0])
    assert torch.equal(weights, hidden_weights(net, (3, 16, 16)))
    assert as_pictures(weights).min() >= 0 and as_pictures(weights).max() <= 1


def test_a_two_layer_net_has_templates_of_units_and_of_classes():
    torch.manual_seed(0)
    net = MLP(num_classes=4, in_channels=3, image_size=(6, 8), hidden=(7,))
    shape = (3, 6, 8)
    assert hidden_weights(net, shape).shape == (7, *shape)
    expected = (net.head.weight @ net.blocks[0][0].weight).detach().reshape(4, *shape)
    torch.testing.assert_close(class_weights(net, shape), expected)
    with torch.no_grad():
        net.blocks[0][0].bias.fill_(100.0)  # every unit active: the net is linear there
    image = torch.randn(1, *shape, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(image)[0, 2], image)
    torch.testing.assert_close(class_weights(net, shape)[2], gradient[0], atol=1e-6, rtol=1e-4)


def test_nets_without_templates_are_refused():
    with pytest.raises(ValueError, match="BatchNorm2d"):
        class_weights(make("cnn"), (3, 16, 16))
    with pytest.raises(ValueError, match="192"):
        class_weights(linear(), (3, 8, 8))


pytestmark = pytest.mark.slow
THIN = {"num_classes": 5, "widths": [20, 4, 4, 4, 4], "hidden": [4], "grid": 1}


@pytest.mark.parametrize(("kernel", "stride"), [(11, 4), (7, 2)])
def test_a_filters_pixel_has_the_same_size_in_every_model(tmp_path, kernel, stride):
    net = AlexNet(**THIN, kernel=kernel, stride=stride)
    model = toy_model(net, size=96)
    with untouched(net):
        (block,) = FilterAnalysis(scale=3)(model, tmp_path)
    weight = np.load(tmp_path / "filters.npy")
    assert np.array_equal(weight, net.features[0].weight.detach().numpy())
    picture = np.asarray(Image.open(block.source)).astype(float)
    assert picture.shape == (2 * (3 * kernel + 4) + 4, 16 * (3 * kernel + 4) + 4, 3)
    largest = np.abs(weight[1]).max()
    for y in (0, kernel - 1):  # of the second filter
        for x in (0, kernel - 1):
            tile = picture[4 + 3 * y : 7 + 3 * y, 8 + 3 * (kernel + x) : 11 + 3 * (kernel + x)]
            expected = 255 * (0.5 + 0.5 * weight[1, :, y, x] / largest)
            assert np.abs(tile - expected).max() <= 0.51
    assert f"20 filters of {kernel}×{kernel} pixels, stride {stride}" in block.caption


def test_of_many_filters_the_largest_are_shown(tmp_path):
    (block,) = FilterAnalysis(limit=4)(toy_model(), tmp_path)
    assert "the 4 with" in block.caption and len(np.load(tmp_path / "filters.npy")) == 8
    (block,) = FilterAnalysis(layer="stages.0.1.0")(toy_model(), tmp_path)  # 12 filters of 8 maps
    assert "12 filters" in block.caption and "one input map" in block.caption


def test_linear_nets_have_templates_of_classes(tmp_path):
    net = linear()
    (block,) = FilterAnalysis()(toy_model(net), tmp_path)
    weight = np.load(tmp_path / "templates.npy")
    assert np.array_equal(weight, net.head.weight.detach().numpy().reshape(5, 3, 16, 16))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["templates.npy", "templates.png"]
    assert "product" not in block.caption


def test_two_layer_nets_have_those_of_hidden_units_too(tmp_path):
    net = MLP(num_classes=5, in_channels=1, image_size=16, hidden=(7,))
    blocks = FilterAnalysis()(toy_model(net, channels=1), tmp_path)
    assert np.load(tmp_path / "hidden.npy").shape == (7, 1, 16, 16)
    assert np.load(tmp_path / "templates.npy").shape == (5, 1, 16, 16)
    assert "product" in html(blocks) and "7 units" in html(blocks)
