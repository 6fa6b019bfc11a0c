"""Projections to pixels: switches, rectification and transposed filters."""

import captum.attr
import pytest
import torch
from torch import nn

from fovea.explain.core.targets import ClassScore
from fovea.explain.methods.deconvnet import Deconvnet, project
from fovea.explain.methods.guided_backprop import ReluRule
from fovea.models.alexnet import AlexNet
from fovea.models.convnet import ConvNet
from fovea.models.hooks import record
from helpers.explained_nets import SIDE, assert_unchanged, built, images, state_of

pytestmark = pytest.mark.slow

THIN = {"num_classes": 5, "widths": (8, 12, 12, 12, 8), "hidden": [16], "grid": 1}


def nets():
    torch.manual_seed(0)
    yield AlexNet(**THIN), "features.12"
    yield AlexNet(**THIN, kernel=7, stride=2, second_stride=2), "features.7"
    yield built("our_vgg"), "features.9"
    yield built("our_vgg"), "features.6"
    yield built("vgg"), "features.7"
    yield built("our_cnn"), "stages.1.2.2"
    yield built("our_cnn"), "stages.0"


@pytest.mark.parametrize("case", range(7))
def test_equals_a_backward_pass_with_rectified_gradients(case):
    net, layer = list(nets())[case]
    net.eval()
    x = images().requires_grad_()
    with torch.no_grad(), record(net, layer) as seen:
        net(x)
    for channel in seen[layer].amax((0, 2, 3)).topk(2).indices.tolist():  # some are dead
        with record(net, layer) as seen, ReluRule(Deconvnet.rule):
            net(x)
        strongest = seen[layer][:, channel].flatten(1).max(1).values
        (gradient,) = torch.autograd.grad(strongest.sum(), x)
        pictures, activations = project(net, x.detach(), layer=layer, channel=channel)
        torch.testing.assert_close(activations, strongest.detach())
        expected = gradient * activations[:, None, None, None]
        assert pictures.shape == x.shape and activations.max() > 0 and expected.abs().max() > 0
        torch.testing.assert_close(pictures, expected, atol=1e-5, rtol=1e-3)


def test_switches_put_a_maximum_back_where_it_came_from():
    net = nn.Sequential(nn.Identity(), nn.MaxPool2d(2), nn.MaxPool2d(2))
    x = torch.rand(4, 2, 8, 8)
    pictures, strongest = project(net, x, layer="2", channel=1)
    expected = torch.zeros_like(x)
    place = x[:, 1].flatten(1).argmax(1)
    expected[:, 1].flatten(1)[torch.arange(4), place] = x[:, 1].flatten(1).max(1).values
    assert torch.equal(pictures, expected) and torch.equal(strongest, x[:, 1].amax((1, 2)))


def test_filters_are_transposed_and_biases_left_out():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=True))
    nn.init.constant_(net[0].bias, 5.0)
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 3:6, 4:7] = net[0].weight[1, 0].detach()
    (picture,), (strongest,) = project(net, x, layer="0", channel=1)
    expected = torch.zeros(9, 9)
    expected[3:6, 4:7] = strongest * net[0].weight[1, 0].detach()
    torch.testing.assert_close(picture[0], expected)


def test_only_the_field_of_the_activation_is_rebuilt():
    net = AlexNet(**THIN).eval()
    picture, _ = project(net, images(1), layer="features.1", channel=3)
    rows = picture[0].abs().sum(0).sum(1).nonzero().flatten()
    assert 0 < rows.max() - rows.min() + 1 <= 11
    picture, _ = project(net, images(1), layer="features.4", channel=3)
    rows = picture[0].abs().sum(0).sum(1).nonzero().flatten()
    assert 11 < rows.max() - rows.min() + 1 <= 11 + 4 * (2 + 2 * 4)


@pytest.mark.parametrize("name", ["our_cnn", "our_convnet", "our_vgg", "resnet"])
def test_whole_nets_equal_captum(name):
    net, x = built(name), images()
    found = Deconvnet().gradient(net, x, ClassScore(2))
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # which captum needs
    expected = captum.attr.Deconvolution(net).attribute(x.requires_grad_(), target=2)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    assert torch.equal(Deconvnet()(net, x, ClassScore(2)), found.abs().amax(1))


def test_the_net_is_left_as_it_was():
    net = AlexNet(**THIN)
    before = state_of(net)
    pictures, _ = project(net, images(), layer="features.5", channel=0)
    assert Deconvnet()(net, images()).shape == (2, SIDE, SIDE)
    assert_unchanged(net, before)
    assert not pictures.requires_grad


def test_what_cannot_be_turned_round_is_named():
    net = AlexNet(**THIN)
    with pytest.raises(ValueError, match=r"layer='classifier.1' .*features.0, features.1"):
        project(net, images(), layer="classifier.1", channel=0)
    with pytest.raises(ValueError, match=r"channel=8 of features.0, which has 8"):
        project(net, images(), layer="features.0", channel=8)
    with pytest.raises(ValueError, match=r"'layer1.0'"):
        project(built("resnet"), images(), layer="layer1.0", channel=0)
    with pytest.raises(ValueError, match=r"'stages.1'"):
        project(ConvNet(num_classes=2, widths=(4, 4), noise=0.1), images(), layer="stages.1", channel=0)
