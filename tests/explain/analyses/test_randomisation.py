"""The analysis of randomised weights tells maps of the net from maps of the image."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from fovea.explain.analyses.randomisation import RandomisationAnalysis, cascade, rank_correlation
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
from helpers.explained_nets import SIDE, assert_unchanged, built, state_of
from helpers.toy_inside import toy_model
from helpers.toy_quarter import COUNT, Quarter, model, refused

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["our_cnn", "our_vit"])
def test_every_weight_is_reinitialised_from_the_top_down_and_keeps_its_scale(name):
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


def test_maps_of_every_method_change_but_those_that_ignore_the_net():
    methods = METHODS | {"edges": edges}
    model = replace(toy_model(built("our_cnn"), count=2, size=SIDE), methods=methods)
    before, state = state_of(model.net), torch.get_rng_state()
    found, again = (RandomisationAnalysis(points=1).measure(model)[1] for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert_unchanged(model.net, before)
    for name, maps in found.items():
        assert maps.correlation == again[name].correlation and list(maps.correlation) == ["stem.0"]
        assert max(maps.correlation["stem.0"]) < 0.9 or name == "edges", name
    assert found["edges"].correlation["stem.0"] == pytest.approx([1, 1])


def edges(net, image, target=None):
    return image.diff(dim=2, append=image[:, :, -1:]).abs().sum(1)


def weights(net, image, target=None):
    """Map images to noise that the weights alone decide."""
    seed = int(net.conv.weight.abs().sum() * 1e4)
    return torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(seed)).expand(len(image), -1, -1)


def test_it_writes_correlations_and_names_what_does_not_change(tmp_path):
    net_before = Quarter().state_dict()
    methods = {"edges": edges, "weights": weights, "product": InputTimesGradient(), "refused": refused}
    made = model(methods)
    blocks = RandomisationAnalysis(points=1)(made, tmp_path)
    page = "".join(block.html() for block in blocks)
    assert re.search(r"<td>edges</td><td class=num>1.00</td><td>no</td>", page)
    assert re.search(r"<td>weights</td><td class=num>[^<]*</td><td>yes</td>", page)
    assert "refused: Quarter" in page
    with (tmp_path / "randomisation.csv").open(encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert float(rows["edges"]["correlation"]) == pytest.approx(1)
    assert float(rows["weights"]["correlation"]) < 0.5
    assert rows["edges"]["layer"] == "conv" and int(rows["edges"]["images"]) == COUNT - 1
    assert (tmp_path / "curves.png").stat().st_size > 5000 < (tmp_path / "examples.png").stat().st_size
    for key, value in made.net.state_dict().items():
        assert torch.equal(value, net_before[key])


def test_calls_without_maps_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"method=\[saliency,randomisation\]"):
        RandomisationAnalysis()(model({}), tmp_path)
    with pytest.raises(ValueError, match="see target="):
        RandomisationAnalysis()(model({"edges": edges}, known=False), tmp_path)
    with pytest.raises(ValueError, match="points=0"):
        RandomisationAnalysis(points=0)
    (block,) = RandomisationAnalysis()(model({"refused": refused}), tmp_path)
    assert "no attention" in block.html()
