import numpy as np
import pytest
import torch
from torch import nn

from fovea.explain.analyses.inversion import Inversion, InversionAnalysis, invert
from fovea.explain.core.pixels import blur, total_variation
from fovea.models.hooks import record
from fovea.models.mlp import MLP
from helpers.explained_nets import untouched
from helpers.inner_nets import PIXELS, linear, make, pictures
from helpers.toy_inside import read_csv, repeats, toy_model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("name", "path"), [("tiny", "stages.0"), ("vit", "blocks.0")])
def test_the_features_come_nearer(name, path):
    net, original = make(name), pictures(2)
    with untouched(net):
        (_, before), (found, after) = (
            invert(net, path, original, pixels=PIXELS, inversion=Inversion(steps=n)) for n in (1, 40)
        )
    assert found.shape == (2, 3, 16, 16) and found.min() >= 0 and found.max() <= 1
    assert (after < 0.5 * before).all()
    features = []
    for picture in (found, original):
        with torch.no_grad(), record(net.eval(), path) as tapped:
            net(PIXELS.encode(picture))
        features.append(tapped[path].flatten(1))
    expected = (features[0] - features[1]).square().sum(1) / features[1].square().sum(1)
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-6)


def test_an_almost_invertible_layer_gives_the_image_back():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.LeakyReLU(0.3, inplace=True), nn.Conv2d(24, 2, 3))
    original = blur(pictures(2), 0.7)
    plain = Inversion(steps=300, tv_weight=0, alpha_weight=0)
    found, _ = invert(net, "1", original, pixels=PIXELS, inversion=plain)
    error = (found - original).square().mean((1, 2, 3)).sqrt()
    assert (error < 0.02).all()  # the first image is farther off than 0.1


def test_what_pooling_lost_does_not_come_back():
    net, original = nn.Sequential(nn.AvgPool2d(4), nn.Flatten()), pictures(1)
    found, distance = invert(net, "0", original, pixels=PIXELS, inversion=Inversion(steps=200))
    assert distance < 0.01 and (found - original).square().mean().sqrt() > 0.1


def test_total_variation_makes_it_smoother():
    net, original, rough = make("cnn"), pictures(1), []
    for weight in (0.0, 1.0):
        inversion = Inversion(steps=60, tv_weight=weight)
        found, _ = invert(net, "stages", original, pixels=PIXELS, inversion=inversion)
        rough.append(total_variation(PIXELS.encode(found)).item())
    assert rough[1] < 0.5 * rough[0]


def test_normalised_input_is_refused():
    with pytest.raises(ValueError, match="0…1"):
        invert(make("cnn"), "stem", PIXELS.encode(pictures(1)), pixels=PIXELS, inversion=Inversion())


def test_a_shallow_layer_gives_more_of_the_image_back(tmp_path):
    model = toy_model()
    with untouched(model.net):
        analysis = InversionAnalysis(layer=["stem.0", "stages.0"], limit=1, steps=150, lr=0.1, tv_weight=0.0)
        analysis(model, tmp_path)
    wanted = model.pixels.decode(model.load([0]).image)[0].numpy()
    shallow, deep = (
        np.abs(np.load(tmp_path / f"0000_image_0__{layer}.npy") - wanted).mean()
        for layer in ("stem.0", "stages.0")
    )
    assert shallow < 0.5 * deep
    rows = read_csv(tmp_path / "inversion.csv")
    assert [row["layer"] for row in rows] == ["stem.0", "stages.0"] and float(rows[0]["distance"]) < 0.1


def test_layers_are_found_also_without_maps(tmp_path):
    net = MLP(num_classes=5, image_size=16, hidden=(7,))
    InversionAnalysis(limit=1, steps=2)(toy_model(net), tmp_path)
    assert len(read_csv(tmp_path / "inversion.csv")) >= 1
    InversionAnalysis(limit=1, steps=2, layer="head")(toy_model(linear()), tmp_path)


def test_a_seed_repeats_and_the_net_survives_errors(tmp_path):
    model = toy_model()
    assert repeats(InversionAnalysis(limit=3, steps=3), model, tmp_path)
    with untouched(model.net), pytest.raises(ValueError, match="near it"):
        InversionAnalysis(layer="nothing")(model, tmp_path)
    with pytest.raises(ValueError, match="limit=0"):
        InversionAnalysis(limit=0)
