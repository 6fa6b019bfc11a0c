"""Guided backpropagation: parity with captum, and the nets that hooks on modules miss."""

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fovea.explain.core.targets import ClassScore
from fovea.explain.methods.grad_cam import GradCAM
from fovea.explain.methods.guided_backprop import GuidedBackprop, GuidedGradCAM
from fovea.explain.methods.saliency import Saliency
from helpers.explained_nets import assert_unchanged, built, images, state_of

pytestmark = pytest.mark.slow

CLASSES = torch.tensor([3, 1])


@pytest.mark.parametrize("name", ["our_cnn", "our_convnet", "our_vgg", "our_tiny", "resnet"])
def test_equals_captum_where_relus_are_modules_of_their_own(name):
    net, x = built(name), images()
    found = GuidedBackprop().gradient(net, x, ClassScore(CLASSES))
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # which captum needs
    expected = captum.attr.GuidedBackprop(net).attribute(x.requires_grad_(), target=CLASSES)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    plain = Saliency()(net, x, ClassScore(CLASSES))
    assert not torch.allclose(found.abs().amax(1), plain, rtol=0.1)


class Twin(nn.Module):
    """Three convolutions whose ReLUs are modules, one module, functions or methods."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.convs = nn.ModuleList([nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.Conv2d(6, 5, 3)])
        self.kind, shared = kind, nn.ReLU()
        self.acts = nn.ModuleList(shared if kind == "shared" else nn.ReLU() for _ in range(3))

    def forward(self, x):
        calls = {
            "functional": F.relu,
            "torch": torch.relu,
            "method": lambda y: y.relu(),
            "in place": lambda y: F.relu(y, inplace=True),
            "relu_": torch.relu_,
            "method_": lambda y: y.relu_(),
        }
        for conv, act in zip(self.convs, self.acts, strict=True):
            x = calls.get(self.kind, act)(conv(x))
        return x.mean((2, 3))


@pytest.mark.parametrize("kind", ["functional", "torch", "method", "in place", "relu_", "method_", "shared"])
def test_every_spelling_of_relu_is_met(kind):
    x = images()
    expected = GuidedBackprop().gradient(Twin("modules"), x)
    reference = captum.attr.GuidedBackprop(Twin("modules")).attribute(
        x.clone().requires_grad_(), target=Twin("modules")(x).argmax(1)
    )
    torch.testing.assert_close(expected, reference)
    assert torch.equal(GuidedBackprop().gradient(Twin(kind), x), expected)


def test_relu6_is_open_between_its_bounds():
    net = nn.Sequential(nn.ReLU6(), nn.Flatten(), nn.Linear(4, 1, bias=False))
    nn.init.constant_(net[2].weight, 1.0)
    net[2].weight.data[0, 1] = -1.0
    x = torch.tensor([[[[3.0, 2.0], [-1.0, 7.0]]]])
    assert GuidedBackprop().gradient(net, x, ClassScore(0)).flatten().tolist() == [1.0, 0.0, 0.0, 0.0]
    assert GuidedBackprop().gradient(built("mobilenetv2"), images()).abs().max() > 0


def test_values_of_the_net_do_not_change_under_the_rule():
    seen = []
    net, x = built("mobilenetv2"), images()
    GuidedBackprop().gradient(net, x, lambda output: (seen.append(output.detach().clone()), output[:, 0])[1])
    torch.testing.assert_close(seen[0], net(x).detach())


def test_nets_without_relus_are_refused():
    with pytest.raises(ValueError, match=r"SwinTransformer has no ReLU.*use Saliency"):
        GuidedBackprop()(built("swin"), images())


def test_guided_grad_cam_is_the_product():
    net, x = built("resnet"), images()
    target = ClassScore(CLASSES)
    colour = GuidedGradCAM(layer="layer3").gradient(net, x, target)
    product = GuidedBackprop().gradient(net, x, target) * GradCAM(layer="layer3")(net, x, target)[:, None]
    torch.testing.assert_close(colour, product)
    assert colour.shape == x.shape and colour.abs().max() > 0
    torch.testing.assert_close(GuidedGradCAM(layer="layer3")(net, x, target), colour.abs().amax(1))
    default = GuidedGradCAM()(net, x, target)
    assert not torch.allclose(default, GuidedGradCAM(layer="layer3")(net, x, target))


@pytest.mark.parametrize("method", [GuidedBackprop(), GuidedGradCAM()])
def test_the_net_is_left_as_it_was(method):
    net, x = built("our_tiny"), images()
    expected = method(net, x)
    net.train()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    before = state_of(net)
    with torch.inference_mode():
        found = method(net, x)
    assert_unchanged(net, before)
    torch.testing.assert_close(found, expected)
    watched = x.clone().requires_grad_()
    plain = torch.autograd.grad(net.eval()(watched).max(1).values.sum(), watched)[0]  # ReLUs are ReLUs again
    torch.testing.assert_close(Saliency()(net, x), plain.abs().amax(1))
