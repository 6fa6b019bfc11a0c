from dataclasses import replace

import pytest
import torch

from fovea.explain.core.pixels import Pixels, blur, draw_move, moments, roll
from fovea.explain.studies.ascent import Ascent, join, visualise_channel, visualise_class
from fovea.explain.studies.feature_tiles import feature_maps
from fovea.explain.studies.filter_tiles import class_weights
from helpers.inner_nets import PIXELS, linear, make, pictures, untouched

pytestmark = pytest.mark.slow

# untrained nets have logits that are small beside the penalty, and patterns that a shift destroys
QUICK = Ascent(steps=20, keep=3, l2=0.0, jitter=0)


@pytest.mark.parametrize("name", ["cnn", "tiny", "resnet", "vit"])
def test_the_score_of_every_class_rises(name):
    net = make(name)
    with untouched(net):
        climb = visualise_class(net, range(5), size=16, pixels=PIXELS, ascent=QUICK)
    assert climb.pictures.shape == (3, 5, 3, 16, 16) and climb.iterations == [0, 10, 20]
    assert climb.pictures.min() >= 0 and climb.pictures.max() <= 1
    assert (climb.scores[-1] > climb.scores[0]).all()
    with torch.no_grad():
        logits = net.eval()(PIXELS.encode(climb.pictures[-1]))
    torch.testing.assert_close(logits.diagonal(), climb.scores[-1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("jitter", [0, 3])
def test_on_softmax_regression_the_picture_points_along_the_weights(jitter):
    net = linear()
    plain = Ascent(
        steps=30, noise=0, jitter=jitter, blur_every=0, clip=False, l2=0.01, normalise=False, lr=1.0
    )
    climb = visualise_class(net, 3, size=16, pixels=Pixels(mean=[0] * 3, std=[1] * 3), ascent=plain)
    weights = class_weights(net, (3, 16, 16))[3]
    # no clipping to read the direction: take the score, which is linear
    reached = climb.scores[-1, 0] - net.head.bias[3]
    expected = weights.square().sum() * (1 - (1 - 0.02) ** 30) / 0.02
    if jitter == 0:  # x_n = w (1 - (1 - 2 l2 lr)^n) / (2 l2), the fixed point of Simonyan's equation
        torch.testing.assert_close(reached, expected, rtol=1e-4, atol=0)
    else:  # a rolled image sees other weights
        assert 0 < reached < expected


def test_the_first_step_is_the_gradient():
    net = linear()
    one = Ascent(steps=1, noise=0, jitter=0, blur_every=0, l2=0, lr=0.1)
    step = visualise_class(net, [1, 4], size=16, pixels=PIXELS, ascent=one).pictures
    moved = PIXELS.encode(step[1]) - PIXELS.encode(step[0])
    weights = class_weights(net, (3, 16, 16))[[1, 4]]
    torch.testing.assert_close(moved, 0.1 * weights / weights.square().mean((1, 2, 3), keepdim=True).sqrt())


def test_the_penalty_keeps_the_picture_near_the_mean():
    net = make("cnn")
    far = [
        PIXELS.encode(
            visualise_class(net, 0, size=16, pixels=PIXELS, ascent=Ascent(steps=40, l2=l2)).pictures
        )
        for l2 in (0.0, 1.0)
    ]
    assert far[1][-1].norm() < 0.5 * far[0][-1].norm()


def test_jitter_does_not_carry_the_picture_away():
    still = Ascent(steps=6, lr=1e-6, jitter=5, blur_every=0)
    seen = visualise_class(make("cnn"), 0, size=16, pixels=PIXELS, ascent=still).pictures
    torch.testing.assert_close(seen[-1], seen[0], atol=1e-4, rtol=0)


def test_blur_takes_the_roughness_away():
    rough = []
    for blur_every in (0, 2):
        ascent = Ascent(steps=21, blur_every=blur_every, blur_sigma=1.0)
        seen = visualise_class(make("cnn"), 0, size=16, pixels=PIXELS, ascent=ascent).pictures[-1]
        rough.append((seen[..., 1:] - seen[..., :-1]).abs().mean())
    assert rough[1] < 0.5 * rough[0]


def test_scales_let_coarse_shapes_grow_as_fast_as_texture():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 3, 16, 16, generator=generator)
    plain = Ascent(steps=1, l2=0.0, jitter=0, blur_every=0, noise=0.0, clip=False, keep=2)
    pixels = Pixels(mean=[0.5] * 3, std=[1e-3] * 3)

    def step(**options):
        climb = replace(plain, **options)
        found = climb(lambda x: (x * weight).sum(dim=(1, 2, 3)), (1, 3, 16, 16), pixels, weight)
        return (found.pictures[1] - found.pictures[0]) / 1e-3

    parts = [blur(weight, sigma) for sigma in (0.7, 3.0)]
    wanted = sum(part / part.square().mean().sqrt() for part in parts)
    wanted = plain.lr * wanted / wanted.square().mean().sqrt()
    torch.testing.assert_close(step(scales=(0.7, 3.0)), wanted, atol=1e-3, rtol=1e-2)
    assert step(scales=(0.7, 3.0)).square().mean().sqrt() == pytest.approx(plain.lr, rel=1e-2)


def test_climbs_of_several_classes_join():
    ascent = Ascent(steps=2, keep=2)
    parts = [visualise_class(make("cnn"), k, size=16, pixels=PIXELS, ascent=ascent) for k in ([0, 1], [2])]
    whole = join(parts)
    assert whole.pictures.shape == (2, 3, 3, 16, 16) and whole.scores.shape == (2, 3)
    assert torch.equal(whole.pictures[:, 2:], parts[1].pictures) and whole.iterations == [0, 2]


def test_a_channel_rises():
    net = make("tiny")
    with untouched(net):
        climb = visualise_channel(net, "stages.1", [0, 7], size=(16, 20), pixels=PIXELS, ascent=QUICK)
    assert climb.pictures.shape == (3, 2, 3, 16, 20) and (climb.scores[-1] > climb.scores[0]).all()
    maps = feature_maps(net, PIXELS.encode(climb.pictures[-1]), "stages.1")[[0, 1], [0, 7]]
    torch.testing.assert_close(maps.mean((1, 2)), climb.scores[-1], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="not all channels"):
        visualise_channel(net, "stages.1", 12, size=16, pixels=PIXELS, ascent=QUICK)


def test_a_seed_repeats_and_leaves_the_global_one():
    def draw(seed):
        ascent = Ascent(steps=5, seed=seed)
        return visualise_class(make("cnn"), [0, 1], size=16, pixels=PIXELS, ascent=ascent).pictures

    assert torch.equal(draw(3), draw(3)) and not torch.equal(draw(3), draw(4))
    net, state = make("cnn"), torch.random.get_rng_state()
    visualise_class(net, 0, size=16, pixels=PIXELS, ascent=QUICK)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_class_climbs_as_if_alone():
    net = make("cnn")
    among = visualise_class(net, [0, 3], size=16, pixels=PIXELS, ascent=Ascent(steps=5)).pictures
    alone = visualise_class(net, 3, size=16, pixels=PIXELS, ascent=Ascent(steps=5)).pictures
    torch.testing.assert_close(among[:, 1:], alone, atol=1e-4, rtol=0)


def test_wrong_classes_are_refused():
    with pytest.raises(ValueError, match="5"):
        visualise_class(make("cnn"), 5, size=16, pixels=PIXELS, ascent=QUICK)


def test_pixels_go_there_and_back():
    given = pictures(2)
    encoded = PIXELS.encode(given)
    torch.testing.assert_close(PIXELS.decode(encoded), given)
    torch.testing.assert_close(encoded[:, 1], (given[:, 1] - 0.4) / 0.25)
    clipped = PIXELS.decode(PIXELS.clip(encoded * 5))
    torch.testing.assert_close(clipped, PIXELS.decode(encoded * 5).clamp(0, 1))
    with pytest.raises(ValueError, match="0…1"):
        PIXELS.check(encoded)
    with pytest.raises(ValueError, match="channels"):
        PIXELS.encode(given[:, :2])
    with pytest.raises(ValueError, match="std"):
        Pixels(mean=[0.5], std=[0.0])


def test_blur_is_a_gaussian():
    from torchvision.transforms.v2 import functional as F

    image = pictures(2, size=20)
    expected = F.gaussian_blur(image, [9, 9], [1.3, 1.3])
    torch.testing.assert_close(blur(image, 1.3)[..., 5:-5, 5:-5], expected[..., 5:-5, 5:-5])
    torch.testing.assert_close(blur(torch.full((1, 2, 6, 6), 0.7), 2.0), torch.full((1, 2, 6, 6), 0.7))
    assert torch.equal(blur(image, 0), image)


def test_moves_and_moments():
    generator = torch.Generator().manual_seed(0)
    drawn = {draw_move(2, generator) for _ in range(500)}
    assert len(drawn) == 25 and max(max(m) for m in drawn) == 2 and min(min(m) for m in drawn) == -2
    image = torch.arange(12.0).view(1, 1, 3, 4)
    assert roll(image, (1, 2))[0, 0, 1, 2] == image[0, 0, 0, 0]
    assert moments(10, 3) == [0, 5, 10] and moments(2, 9) == [0, 1, 2] and moments(7, 1) == [7]
    with pytest.raises(ValueError, match="steps=0"):
        moments(0, 3)
