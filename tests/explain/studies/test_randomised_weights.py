"""The check by randomised weights: what it draws, what it finds."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from fovea.explain.methods.cam import CAM
from fovea.explain.methods.deconvnet import Deconvnet
from fovea.explain.methods.eigen_cam import EigenCAM
from fovea.explain.methods.grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from fovea.explain.methods.guided_backprop import GuidedBackprop, GuidedGradCAM
from fovea.explain.methods.integrated_gradients import IntegratedGradients
from fovea.explain.methods.occlusion import Occlusion
from fovea.explain.methods.saliency import InputTimesGradient, Saliency
from fovea.explain.methods.score_cam import ScoreCAM
from fovea.explain.methods.smooth_grad import SmoothGrad
from fovea.explain.studies.randomised_weights import cascade, randomisation_check, rank_correlation
from helpers.explained_nets import assert_unchanged, built, images, state_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["our_cnn", "our_vit", "swin"])
def test_every_weight_is_drawn_anew_from_the_top_down_and_keeps_its_scale(name):
    net = built(name)
    before, kept = state_of(net), dict(net.named_parameters())
    order = []
    for path, changed in cascade(net):
        order.append(path)
        now = dict(changed.named_parameters())
    assert_unchanged(net, before)
    assert order == [p for p, m in reversed(list(net.named_modules())) if list(m.parameters(recurse=False))]
    for path, parameter in now.items():
        old = kept[path]
        assert not torch.equal(parameter, old) or old.std(correction=0) == 0, path
        if parameter.numel() > 1000:
            torch.testing.assert_close(parameter.std(), old.std(), rtol=0.15, atol=1e-6)


def test_rank_correlation_is_spearmans_also_with_ties():
    torch.manual_seed(0)
    a, b = torch.rand(3, 9, 7), torch.rand(3, 9, 7)
    a[1], b[2] = (a[1] * 4).round(), a[2] ** 3
    a[0, :4] = 0
    found = rank_correlation(a, b)
    expected = [spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert found[2] > 0.999999


METHODS = {
    "cam": CAM(),
    "grad_cam": GradCAM(),
    "grad_cam++": GradCAMPlusPlus(),
    "layer_cam": LayerCAM(),
    "score_cam": ScoreCAM(),
    "eigen_cam": EigenCAM(),
    "saliency": Saliency(),
    "times": InputTimesGradient(),
    "smooth": SmoothGrad(samples=4),
    "integrated": IntegratedGradients(steps=4),
    "guided": GuidedBackprop(),
    "guided_grad_cam": GuidedGradCAM(),
    "deconvnet": Deconvnet(),
    "occlusion": Occlusion(),
}


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_randomised_weights_change(method):
    net, x = built("our_cnn"), images()
    before = state_of(net)
    state = torch.get_rng_state()
    found = randomisation_check(METHODS[method], net, x)
    assert torch.equal(state, torch.get_rng_state())
    assert_unchanged(net, before)
    assert next(iter(found)) == "head" and next(reversed(found)) == "stem.0"
    assert found["stem.0"].shape == (2,) and found["stem.0"].max() < 0.9
    assert torch.equal(found["stem.0"], randomisation_check(METHODS[method], net, x)["stem.0"])


def test_the_check_finds_a_method_that_ignores_the_net():
    def edges(net, image, target=None):
        return image.diff(dim=2, append=image[:, :, -1:]).abs().sum(1)

    found = randomisation_check(edges, built("our_cnn"), images())
    assert all(torch.allclose(v, torch.ones(2, dtype=v.dtype)) for v in found.values())
