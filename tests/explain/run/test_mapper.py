import numpy as np
import pytest
import torch

from fovea.explain.core.class_choice import LogitSelector
from fovea.explain.core.model import ExplainedModel, ImageBatch
from fovea.explain.core.pixels import Pixels
from fovea.explain.methods.eigen_cam import EigenCAM
from fovea.explain.methods.grad_cam import GradCAM
from fovea.explain.methods.rollout import Rollout
from fovea.explain.methods.saliency import InputTimesGradient, Saliency
from fovea.explain.run.mapper import UNKNOWN, Mapper
from fovea.explain.run.methods import LayerMethod
from helpers import explained_nets


def model(net, target="predicted", classes=5):
    names = [str(i) for i in range(classes)]
    return ExplainedModel(
        name="net",
        net=net,
        device=torch.device("cpu"),
        classes=names,
        pixels=Pixels(mean=[0.5] * 3, std=[0.2] * 3),
        size=(64, 64),
        ids=["a", "b"],
        load=lambda rows: None,
        selector=LogitSelector(classes=names, target=target),
    )


def batch(label=(-1, -1), dtype=torch.float32):
    return ImageBatch(image=explained_nets.images(2).to(dtype), rows=[0, 1], label=torch.tensor(label))


def test_every_class_has_its_map():
    net = explained_nets.built("our_tiny")
    methods = [LayerMethod(name="saliency", call=Saliency()), LayerMethod(name="eigen_cam", call=EigenCAM())]
    mapper = Mapper(model(net, "top-2"), [*methods, LayerMethod(name="input", call=InputTimesGradient())])
    predicted, found = mapper(batch())
    assert [[s.method for s in row] for row in found] == 2 * [
        ["saliency", "saliency", "eigen_cam", "input", "input"]
    ]
    assert found[1][0].selected == predicted[1] and found[0][2].selected is None
    assert [s.signed for s in found[0]] == [False, False, False, True, True]
    alone = Saliency()(net, batch().image[1:], model(net).selector.target([found[1][1].selected]))
    np.testing.assert_allclose(found[1][1].map, alone[0], rtol=1e-4, atol=1e-6)


def test_an_image_without_true_class_has_no_map_for_it():
    mapper = Mapper(model(explained_nets.built("our_tiny"), "true"), [LayerMethod(name="s", call=Saliency())])
    _, found = mapper(batch(label=(-1, 3)))
    assert found[0][0].map is None and found[0][0].problem == UNKNOWN
    assert found[1][0].selected.label == 3 and found[1][0].map is not None


def test_a_method_that_a_net_cannot_give_says_so_once():
    tried = []

    class Never(Rollout):
        def __call__(self, *args):
            tried.append(args)
            return super().__call__(*args)

    net = explained_nets.built("our_tiny")
    methods = [LayerMethod(name="rollout", call=Never()), LayerMethod(name="grad_cam", call=GradCAM())]
    mapper = Mapper(model(net), methods, lambda: {"rollout": Rollout(), "grad_cam": GradCAM()})
    before = explained_nets.state_of(net)
    for _ in range(2):
        _, found = mapper(batch())
        assert "has no attention" in found[0][0].problem and found[0][1].map.shape == (64, 64)
    assert len(tried) == 1 and mapper.worked == {"grad_cam"}
    why, can = mapper.report()
    assert why.startswith("net: rollout: Tiny") and can == "net gives grad_cam"
    assert mapper.report() == []
    explained_nets.assert_unchanged(net, before)


@pytest.mark.parametrize("name", ["our_tiny", "our_vit"])
def test_a_net_in_half_precision(name):
    net = explained_nets.built(name).bfloat16()
    methods = [
        LayerMethod(name="g", call=GradCAM()),
        LayerMethod(name="s", call=Saliency()),
        LayerMethod(name="e", call=EigenCAM()),
    ]
    methods += [LayerMethod(name="r", call=Rollout())] if name == "our_vit" else []
    _, found = Mapper(model(net), methods)(batch())
    assert [s.problem for s in found[0]] == [None] * len(methods)
    assert all(s.map.dtype == np.float32 for s in found[0])
