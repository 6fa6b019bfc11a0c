import numpy as np
import pytest
from PIL import Image

from fovea.explain.studies.filters import FilterStudy
from fovea.models.alexnet import AlexNet
from fovea.models.mlp import MLP
from helpers.inner_nets import linear, make, untouched
from helpers.toy_inside import html, toy_subject

pytestmark = pytest.mark.slow
THIN = {"num_classes": 5, "widths": [20, 4, 4, 4, 4], "hidden": [4], "grid": 1}


@pytest.mark.parametrize(("kernel", "stride"), [(11, 4), (7, 2)])
def test_a_filters_pixel_has_the_same_size_in_every_model(tmp_path, kernel, stride):
    net = AlexNet(**THIN, kernel=kernel, stride=stride)
    subject = toy_subject(net, size=96)
    with untouched(net):
        (block,) = FilterStudy(scale=3)(subject, tmp_path)
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
    (block,) = FilterStudy(limit=4)(toy_subject(), tmp_path)
    assert "the 4 with the largest norm" in block.caption and len(np.load(tmp_path / "filters.npy")) == 8
    (block,) = FilterStudy(layer="stages.0.1.0")(toy_subject(), tmp_path)  # 12 filters of 8 maps
    assert "12 filters" in block.caption and "one input map each" in block.caption


def test_linear_nets_have_templates_of_classes(tmp_path):
    net = linear()
    (block,) = FilterStudy()(toy_subject(net), tmp_path)
    weight = np.load(tmp_path / "templates.npy")
    assert np.array_equal(weight, net.head.weight.detach().numpy().reshape(5, 3, 16, 16))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["templates.npy", "templates.png"]
    assert "product" not in block.caption


def test_two_layer_nets_have_those_of_hidden_units_too(tmp_path):
    net = MLP(num_classes=5, in_channels=1, image_size=16, hidden=(7,))
    blocks = FilterStudy()(toy_subject(net, channels=1), tmp_path)
    assert np.load(tmp_path / "hidden.npy").shape == (7, 1, 16, 16)
    assert np.load(tmp_path / "templates.npy").shape == (5, 1, 16, 16)
    assert "product of the layers" in html(blocks) and "7 units" in html(blocks)


def test_wrong_layers_are_named(tmp_path):
    with pytest.raises(KeyError, match=r"stem\.0"):
        FilterStudy(layer="stm.0")(toy_subject(), tmp_path)
    with pytest.raises(ValueError, match="not a 2D convolution"):
        FilterStudy(layer="head")(toy_subject(make("cnn")), tmp_path)
