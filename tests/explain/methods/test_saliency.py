"""Gradients of the score: vanilla, times the image, smoothed and integrated."""

import pytest
import torch
from torch import nn

from fovea.explain.core.targets import ClassScore, Probability
from fovea.explain.methods.integrated_gradients import IntegratedGradients
from fovea.explain.methods.saliency import InputTimesGradient, Saliency
from fovea.explain.methods.smooth_grad import SmoothGrad
from fovea.tasks.segmentation.explain import ClassArea
from helpers.explained_nets import KINDS, SIDE, assert_unchanged, built, images, state_of

pytestmark = pytest.mark.slow

METHODS = {
    "saliency": Saliency(),
    "times": InputTimesGradient(),
    "smooth": SmoothGrad(samples=3, batch_size=2),
    "integrated": IntegratedGradients(steps=4),
}


class Cubes(nn.Module):
    """Score an image by the sum of its cubes; the gradient of the mean over noise is 3 x² + 3 s²."""

    def forward(self, x):
        total = (x.double() ** 3).flatten(1).sum(1)
        return torch.stack([total, -total], dim=1)


@pytest.mark.parametrize("name", KINDS)
def test_saliency_and_its_product_are_the_gradient(name):
    net, x = built(name), images()
    watched = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(watched).max(1).values.sum(), watched)
    torch.testing.assert_close(Saliency()(net, x), gradient.abs().amax(1))
    torch.testing.assert_close(InputTimesGradient()(net, x), (x * gradient).sum(1))
    assert Saliency()(net, x).amax((1, 2)).min() > 0


def test_input_times_gradient_sums_to_the_score_without_biases():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 31**2, 4, bias=False),
    )
    found = InputTimesGradient()(net, images(), ClassScore(2)).sum((1, 2))
    torch.testing.assert_close(found, net(images())[:, 2].detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["our_tiny", "densenet", "our_vit", "swin"])
def test_integrated_gradients_are_complete(name):
    net, x = built(name), images()
    black = torch.full((1, 3, SIDE, SIDE), -2.0)
    for baseline, start in ((0.0, torch.zeros_like(x)), (black, black.expand_as(x))):
        for target in (None, Probability([1, 3])):
            classes = net(x).argmax(1) if target is None else torch.tensor([1, 3])
            score = target or ClassScore(classes)
            expected = (score(net(x)) - score(net(start))).detach()
            maps = IntegratedGradients(baseline=baseline, steps=96)(net, x, target)
            error = (maps.sum((1, 2)) - expected).abs()
            assert (error < 0.01 * maps.abs().sum((1, 2))).all()
            if name in ("our_vit", "vit", "swin"):  # smooth nets
                torch.testing.assert_close(maps.sum((1, 2)), expected, atol=1e-3, rtol=0.01)


def test_more_steps_make_the_sum_more_exact():
    net, x = built("our_vit"), images()
    expected = (net(x) - net(torch.zeros_like(x)))[:, 1].detach()
    errors = [
        (IntegratedGradients(steps=n)(net, x, ClassScore(1)).sum((1, 2)) - expected).abs().max()
        for n in (2, 16)
    ]
    assert errors[1] < 0.2 * errors[0] and errors[1] < 1e-3


def test_one_step_is_exact_for_a_linear_net_and_an_odd_batch_size_changes_nothing():
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 4))
    x = images(3)
    weight = linear[1].weight[1].detach().view(1, 3, SIDE, SIDE)
    found = IntegratedGradients(steps=1)(linear, x, ClassScore(1))
    torch.testing.assert_close(found, (x * weight).sum(1), atol=1e-5, rtol=1e-4)
    net = built("our_cnn")
    large, small = (IntegratedGradients(steps=7, batch_size=n)(net, x) for n in (64, 4))
    torch.testing.assert_close(large, small, atol=1e-5, rtol=1e-3)


def test_smooth_grad_without_noise_is_saliency():
    for name in ("our_cnn", "swin"):
        net, x = built(name), images()
        found = SmoothGrad(noise=0.0, samples=3)(net, x)
        torch.testing.assert_close(found, Saliency()(net, x), atol=1e-5, rtol=1e-3)


def test_smooth_grad_averages_over_noise_of_the_images_own_range():
    x = torch.zeros(2, 1, 6, 6)
    x[0, 0, 0, 0], x[1, 0, 0, 0] = 1.0, 10.0
    found = SmoothGrad(samples=4000, noise=0.2, batch_size=500)(Cubes(), x, ClassScore(1))
    flat = found.flatten(1)[:, 1:].mean(1)
    torch.testing.assert_close(flat, 3 * (0.2 * torch.tensor([1.0, 10.0])) ** 2, rtol=0.02, atol=0)
    torch.testing.assert_close(found[1, 0, 0], torch.tensor(3 * 100 + 3 * 4.0), rtol=0.05, atol=0)


def test_smooth_grad_repeats_and_leaves_the_random_state():
    net, x = built("our_cnn"), images()
    state = torch.get_rng_state()
    first, again = (SmoothGrad(samples=4)(net, x) for _ in range(2))
    assert torch.equal(first, again) and torch.equal(state, torch.get_rng_state())
    assert not torch.allclose(first, SmoothGrad(samples=4, seed=1)(net, x))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_the_net_is_left_as_it_was(method, context):
    net = built("our_cnn")
    expected = METHODS[method](net, images())
    assert expected.shape == (2, SIDE, SIDE) and not expected.requires_grad
    net.train()
    net.stages[0].eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    before = state_of(net)
    with context():
        x = images()
        found = METHODS[method](net, x)
    assert_unchanged(net, before)
    assert not x.requires_grad and x.grad is None
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("method", METHODS)
def test_every_image_is_asked_about_its_own_class_or_area(method):
    net, x = built("our_cnn"), images(3)
    classes = [4, 0, 2]
    both = METHODS[method](net, x, ClassScore(classes))
    if method != "smooth":  # whose noise differs from image to image
        alone = [METHODS[method](net, x[i : i + 1], ClassScore(c)) for i, c in enumerate(classes)]
        torch.testing.assert_close(both, torch.cat(alone), atol=1e-5, rtol=1e-3)
    area = nn.Conv2d(3, 2, 1)
    region = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
    for i in range(3):
        region[i, : 8 * (i + 1)] = True
    found = METHODS[method](area, x, ClassArea([1] * 3, region=region))
    assert torch.equal(found != 0, region)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="steps=0"):
        IntegratedGradients(steps=0)
    with pytest.raises(ValueError, match="samples=0"):
        SmoothGrad(samples=0)
    with pytest.raises(ValueError, match="not depend"):
        from fovea.explain.methods.grad_cam import GradCAM

        GradCAM(layer="0")(
            nn.Sequential(nn.Conv2d(3, 2, 1)), images(), lambda output: output.detach().sum((1, 2, 3))
        )
