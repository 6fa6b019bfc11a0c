import pytest
import torch
from torch import nn

from fovea.explain.core.pixels import alpha_norm, blur, total_variation
from fovea.explain.studies.invert import Inversion, invert
from helpers.inner_nets import PIXELS, make, pictures, untouched

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "path"), [("cnn", "stages"), ("tiny", "stages.0"), ("resnet", "layer2"), ("vit", "blocks.0")]
)
def test_the_features_come_nearer(name, path):
    net, given = make(name), pictures(2)
    with untouched(net):
        found = invert(net, path, given, pixels=PIXELS, inversion=Inversion(steps=40, keep=3))
    assert found.pictures.shape == (3, 2, 3, 16, 16) and found.iterations == [0, 20, 40]
    assert found.pictures.min() >= 0 and found.pictures.max() <= 1
    assert (found.distance[-1] < 0.5 * found.distance[0]).all()


def test_the_distance_is_that_of_the_pictures():
    net, given = make("tiny").eval(), pictures(2)
    found = invert(net, "stem.0", given, pixels=PIXELS, inversion=Inversion(steps=5, keep=2))
    with torch.no_grad():
        seen, wanted = (net.stem[0](PIXELS.encode(p)).flatten(1) for p in (found.pictures[-1], given))
    expected = (seen - wanted).square().sum(1) / wanted.square().sum(1)
    torch.testing.assert_close(found.distance[-1], expected, rtol=1e-4, atol=1e-6)


def test_an_almost_invertible_layer_gives_the_image_back():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.LeakyReLU(0.3, inplace=True), nn.Conv2d(24, 2, 3))
    given = blur(pictures(2), 0.7)
    plain = Inversion(steps=300, tv_weight=0, alpha_weight=0, keep=2)
    found = invert(net, "1", given, pixels=PIXELS, inversion=plain)
    error = (found.pictures - given).square().mean((2, 3, 4)).sqrt()  # (T, B)
    assert (error[-1] < 0.02).all() and (error[0] > 0.1).all()


def test_what_pooling_lost_does_not_come_back():
    net, given = nn.Sequential(nn.AvgPool2d(4), nn.Flatten()), pictures(1)
    found = invert(net, "0", given, pixels=PIXELS, inversion=Inversion(steps=200, keep=1))
    assert found.distance[-1] < 0.01
    assert (found.pictures[-1] - given).square().mean().sqrt() > 0.1


def test_total_variation_makes_it_smoother():
    net, given, rough = make("cnn"), pictures(1), []
    for weight in (0.0, 1.0):
        inversion = Inversion(steps=60, tv_weight=weight, keep=1)
        seen = invert(net, "stages", given, pixels=PIXELS, inversion=inversion).pictures[-1]
        rough.append(total_variation(PIXELS.encode(seen)).item())
    assert rough[1] < 0.5 * rough[0]


def test_the_penalties_are_the_papers():
    image = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    image[0, 0, 1, 2] = -2.0
    assert alpha_norm(image, 6).item() == pytest.approx(2.0**6 / 16)
    # a differences: of the pixel itself (both), of its left and of its upper neighbour, of 9 places
    assert total_variation(image, 2).item() == pytest.approx((8 + 4 + 4) / 9)
    assert total_variation(image, 1).item() == pytest.approx((8**0.5 + 2 + 2) / 9, abs=1e-5)
    flat = torch.full((1, 1, 4, 4), 0.3, requires_grad=True)
    (gradient,) = torch.autograd.grad(total_variation(flat, 1.5).sum(), flat)
    assert gradient.isfinite().all()


def test_a_seed_repeats_and_wrong_input_is_refused():
    net, given = make("cnn"), pictures(1)

    def last(seed):
        inversion = Inversion(steps=5, seed=seed)
        return invert(net, "stem", given, pixels=PIXELS, inversion=inversion).pictures[-1]

    assert torch.equal(last(0), last(0)) and not torch.equal(last(0), last(1))
    with pytest.raises(ValueError, match="0…1"):
        invert(net, "stem", PIXELS.encode(given), pixels=PIXELS)
    with pytest.raises(KeyError, match="stem"):
        invert(net, "stm", given, pixels=PIXELS)
