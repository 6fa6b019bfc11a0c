from dataclasses import replace

import numpy as np
import pytest
import torch

from fovea.explain.analyses.class_visualisation import (
    Ascent,
    ClassVisualisationAnalysis,
    join,
    visualise_class,
)
from fovea.explain.analyses.filters import class_weights
from fovea.explain.core.pixels import Pixels, blur
from helpers.explained_nets import untouched
from helpers.inner_nets import PIXELS, linear, make
from helpers.toy_inside import read_csv, repeats, toy_model

pytestmark = pytest.mark.slow

# untrained nets have logits that are small beside the penalty, and patterns that a shift destroys
QUICK = Ascent(steps=20, keep=3, l2=0.0, jitter=0)


@pytest.mark.parametrize("name", ["tiny", "vit"])
def test_the_score_of_every_class_rises(name):
    net = make(name)
    with untouched(net):
        result = visualise_class(net, range(5), size=(16, 16), pixels=PIXELS, ascent=QUICK)
    assert result.pictures.shape == (3, 5, 3, 16, 16) and result.iterations == [0, 10, 20]
    assert result.pictures.min() >= 0 and result.pictures.max() <= 1
    assert (result.scores[-1] > result.scores[0]).all()
    with torch.no_grad():
        logits = net.eval()(PIXELS.encode(result.pictures[-1]))
    torch.testing.assert_close(logits.diagonal(), result.scores[-1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("jitter", [0, 3])
def test_on_softmax_regression_the_picture_points_along_the_weights(jitter):
    net = linear()
    plain = Ascent(
        steps=30, noise=0, jitter=jitter, blur_every=0, clip=False, l2=0.01, normalise=False, lr=1.0
    )
    result = visualise_class(net, [3], size=(16, 16), pixels=Pixels(mean=[0] * 3, std=[1] * 3), ascent=plain)
    weights = class_weights(net, (3, 16, 16))[3]
    # no clipping to read the direction: take the score, which is linear
    reached = result.scores[-1, 0] - net.head.bias[3]
    expected = weights.square().sum() * (1 - (1 - 0.02) ** 30) / 0.02
    if jitter == 0:  # x_n = w (1 - (1 - 2 l2 lr)^n) / (2 l2), the fixed point of Simonyan's equation
        torch.testing.assert_close(reached, expected, rtol=1e-4, atol=0)
    else:  # a rolled image sees other weights
        assert 0 < reached < expected


def test_the_first_step_is_the_gradient():
    net = linear()
    one = Ascent(steps=1, noise=0, jitter=0, blur_every=0, l2=0, lr=0.1)
    step = visualise_class(net, [1, 4], size=(16, 16), pixels=PIXELS, ascent=one).pictures
    moved = PIXELS.encode(step[1]) - PIXELS.encode(step[0])
    weights = class_weights(net, (3, 16, 16))[[1, 4]]
    torch.testing.assert_close(moved, 0.1 * weights / weights.square().mean((1, 2, 3), keepdim=True).sqrt())


def test_the_penalty_keeps_the_picture_near_the_mean():
    net = make("cnn")
    far = [
        PIXELS.encode(
            visualise_class(net, [0], size=(16, 16), pixels=PIXELS, ascent=Ascent(steps=20, l2=l2)).pictures
        )
        for l2 in (0.0, 1.0)
    ]
    assert far[1][-1].norm() < 0.5 * far[0][-1].norm()


def test_jitter_does_not_carry_the_picture_away():
    still = Ascent(steps=6, lr=1e-6, jitter=5, blur_every=0)
    seen = visualise_class(make("cnn"), [0], size=(16, 16), pixels=PIXELS, ascent=still).pictures
    torch.testing.assert_close(seen[-1], seen[0], atol=1e-4, rtol=0)


def test_blur_takes_the_roughness_away():
    rough = []
    for blur_every in (0, 2):
        ascent = Ascent(steps=21, blur_every=blur_every, blur_sigma=1.0)
        seen = visualise_class(make("cnn"), [0], size=(16, 16), pixels=PIXELS, ascent=ascent).pictures[-1]
        rough.append((seen[..., 1:] - seen[..., :-1]).abs().mean())
    assert rough[1] < 0.5 * rough[0]


def test_scales_let_coarse_shapes_grow_as_fast_as_texture():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 3, 16, 16, generator=generator)
    plain = Ascent(steps=1, l2=0.0, jitter=0, blur_every=0, noise=0.0, clip=False, keep=2)
    pixels = Pixels(mean=[0.5] * 3, std=[1e-3] * 3)

    def step(**options):
        ascent = replace(plain, **options)
        found = ascent(lambda x: (x * weight).sum(dim=(1, 2, 3)), (1, 3, 16, 16), pixels, weight)
        return (found.pictures[1] - found.pictures[0]) / 1e-3

    parts = [blur(weight, sigma) for sigma in (0.7, 3.0)]
    wanted = sum(part / part.square().mean().sqrt() for part in parts)
    wanted = plain.lr * wanted / wanted.square().mean().sqrt()
    torch.testing.assert_close(step(scales=(0.7, 3.0)), wanted, atol=1e-3, rtol=1e-2)
    assert step(scales=(0.7, 3.0)).square().mean().sqrt() == pytest.approx(plain.lr, rel=1e-2)


def test_results_of_several_classes_join():
    ascent = Ascent(steps=2, keep=2)
    parts = [
        visualise_class(make("cnn"), k, size=(16, 16), pixels=PIXELS, ascent=ascent) for k in ([0, 1], [2])
    ]
    whole = join(parts)
    assert whole.pictures.shape == (2, 3, 3, 16, 16) and whole.scores.shape == (2, 3)
    assert torch.equal(whole.pictures[:, 2:], parts[1].pictures) and whole.iterations == [0, 2]


def test_a_seed_repeats_and_leaves_the_global_one():
    def draw(seed):
        ascent = Ascent(steps=5, seed=seed)
        return visualise_class(make("cnn"), [0, 1], size=(16, 16), pixels=PIXELS, ascent=ascent).pictures

    assert torch.equal(draw(3), draw(3)) and not torch.equal(draw(3), draw(4))
    net, state = make("cnn"), torch.random.get_rng_state()
    visualise_class(net, [0], size=(16, 16), pixels=PIXELS, ascent=QUICK)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_class_climbs_as_if_alone():
    net = make("cnn")
    among = visualise_class(net, [0, 3], size=(16, 16), pixels=PIXELS, ascent=Ascent(steps=5)).pictures
    alone = visualise_class(net, [3], size=(16, 16), pixels=PIXELS, ascent=Ascent(steps=5)).pictures
    torch.testing.assert_close(among[:, 1:], alone, atol=1e-4, rtol=0)


def test_wrong_classes_are_refused():
    with pytest.raises(ValueError, match="5"):
        visualise_class(make("cnn"), [5], size=(16, 16), pixels=PIXELS, ascent=QUICK)


pytestmark = pytest.mark.slow
OPTIONS = {"steps": 12, "keep": 3, "scales": (0.7, 1.4)}


def test_it_writes_pictures_and_scores_of_named_classes(tmp_path):
    model = toy_model()
    with untouched(model.net):
        ClassVisualisationAnalysis(classes=["class 3", 1, "class 0"], jitter=0, **OPTIONS)(model, tmp_path)
    rows = read_csv(tmp_path / "classes.csv")
    assert [row["class"] for row in rows[::3]] == ["class 3", "class 1", "class 0"]
    assert [row["step"] for row in rows[:3]] == ["0", "6", "12"]
    for first, last in zip(rows[::3], rows[2::3], strict=True):
        assert float(last["logit"]) > float(first["logit"])
    picture = torch.from_numpy(np.load(tmp_path / "classes.npy"))
    assert picture.shape == (3, 3, 16, 16) and picture.min() >= 0 and picture.max() <= 1
    with torch.no_grad():  # what the table says is what the net says of the pictures
        logits = model.net(model.pixels.encode(picture))
    assert float(rows[2]["logit"]) == pytest.approx(logits[0, 3].item(), abs=1e-3)


def test_without_names_the_predicted_classes_are_drawn(tmp_path):
    model = toy_model()
    with torch.no_grad():
        predicted = model.net(model.load(range(5)).image).argmax(1).bincount(minlength=5)
    ClassVisualisationAnalysis(limit=2, **OPTIONS)(model, tmp_path)
    found = [int(row["class"].split()[1]) for row in read_csv(tmp_path / "classes.csv")][::3]
    assert found == [int(c) for c in predicted.argsort(descending=True, stable=True) if predicted[c]][:2]
    assert repeats(ClassVisualisationAnalysis(classes=4, **OPTIONS), model, tmp_path)


def test_a_wrong_name_is_refused(tmp_path):
    model = toy_model()
    with untouched(model.net), pytest.raises(ValueError, match="class 3"):
        ClassVisualisationAnalysis(classes="klass 3")(model, tmp_path)
    with pytest.raises(ValueError, match="predicted"):
        ClassVisualisationAnalysis(classes="predicted")(model, tmp_path)
