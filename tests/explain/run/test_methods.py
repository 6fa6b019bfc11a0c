import pytest
from torch import nn

from fovea.errors import UsageError
from fovea.explain.methods.cam import CAM
from fovea.explain.methods.eigen_cam import EigenCAM
from fovea.explain.methods.grad_cam import GradCAM
from fovea.explain.methods.rollout import Rollout
from fovea.explain.methods.saliency import Saliency
from fovea.explain.methods.score_cam import ScoreCAM
from fovea.explain.run.methods import LayerMethod, check_layers, possible
from helpers import explained_nets


def test_which_methods_a_net_gives():
    methods = {"eigen_cam": EigenCAM(), "rollout": Rollout(), "saliency": Saliency(), "score_cam": ScoreCAM()}
    passes = []
    net = explained_nets.built("our_tiny")
    EigenCAM()(net, explained_nets.images(1))  # finds out, once, where the layer's maps lie
    net.register_forward_hook(lambda *_: passes.append(1))
    assert possible(methods, net, explained_nets.images(1)) == ["eigen_cam", "saliency", "score_cam"]
    assert len(passes) < 12  # score_cam alone takes one for every channel
    assert not net._forward_pre_hooks


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


def test_a_method_that_refuses_a_net_late_is_not_named():
    patches = [nn.Conv2d(3, 16, 8, 8), Tokens(), nn.LayerNorm(16)]
    net = nn.Sequential(*patches, nn.Flatten(), nn.LazyLinear(4))  # no average before the linear layer
    net(explained_nets.images(1))
    found = possible({"cam": CAM(), "grad_cam": GradCAM()}, net, explained_nets.images(1))
    assert found == ["grad_cam"]


def test_a_layer_that_no_net_has_is_refused():
    methods = [LayerMethod(name="grad_cam", call=GradCAM(), path="features.0")]
    check_layers(methods, [nn.Sequential(nn.ReLU()), nn.ModuleDict({"features": nn.Sequential(nn.ReLU())})])
    with pytest.raises(UsageError, match=r"layer=features\.0.*near it are"):
        check_layers(methods, [nn.Sequential(nn.ReLU())])
