import pytest
from torch import nn

from fovea.errors import UsageError
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
    net.register_forward_hook(lambda *_: passes.append(1))
    assert possible(methods, net, explained_nets.images(1)) == ["eigen_cam", "saliency", "score_cam"]
    assert len(passes) < 12  # score_cam alone takes one for every channel
    assert not net._forward_pre_hooks


def test_a_layer_that_no_net_has_is_refused():
    methods = [LayerMethod(name="grad_cam", call=GradCAM(), path="features.0")]
    check_layers(methods, [nn.Sequential(nn.ReLU()), nn.ModuleDict({"features": nn.Sequential(nn.ReLU())})])
    with pytest.raises(UsageError, match=r"layer=features\.0.*near it are"):
        check_layers(methods, [nn.Sequential(nn.ReLU())])
