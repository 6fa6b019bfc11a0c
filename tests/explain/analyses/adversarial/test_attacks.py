from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fovea.data.datasets.digits import Digits
from fovea.explain.analyses.adversarial.attacks import Attack, cross_entropy, fgsm, pgd, targeted_ascent
from fovea.explain.analyses.class_visualisation import Ascent, visualise_class
from fovea.explain.analyses.filters import class_weights
from fovea.explain.core.pixels import Pixels
from helpers.explained_nets import untouched
from helpers.inner_nets import PIXELS, linear, make, pictures

pytestmark = pytest.mark.slow

EPS = 8 / 255
NETS = ["tiny", "vit"]


@pytest.fixture(scope="module")
def trained():
    """Train a small net on digits: the net, its normalisation, unseen pictures and their labels."""
    torch.manual_seed(0)
    digits, order = Digits(), torch.randperm(5000)
    image = torch.from_numpy(digits.images[order.numpy()]).permute(0, 3, 1, 2).float() / 255
    label = torch.from_numpy(digits.labels[order.numpy()])
    pixels = Pixels(mean=[0.13], std=[0.31])
    first, second = nn.Conv2d(1, 8, 5, 2, 2), nn.Conv2d(8, 16, 3, 2, 1)
    net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(16 * 49, 10))
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    for _ in range(3):
        for rows in torch.randperm(3000).split(50):
            loss = F.cross_entropy(net(pixels.encode(image[rows])), label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    optimizer.zero_grad()
    return net.eval(), pixels, image[3000:3150], label[3000:3150]


def labels(net, picture):
    with torch.no_grad():
        return net.eval()(PIXELS.encode(picture)).argmax(1)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_fgsm_moves_by_eps_along_the_sign_of_the_gradient(name, targeted):
    net, given, label = make(name).eval(), pictures(4), torch.tensor([0, 1, 2, 3])
    leaf = given.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(PIXELS.encode(leaf)), label, reduction="sum"), leaf)
    side = -1 if targeted else 1
    with untouched(net):
        found = fgsm(net, given, label, pixels=PIXELS, eps=EPS, targeted=targeted)
    expected = (given + side * EPS * gradient.sign()).clamp(0, 1)
    same = (found.picture - expected).abs() < 1e-6
    assert same.float().mean() > 0.999  # the sign of a gradient that is all but zero may differ
    assert found.linf.max() <= EPS + 1e-6 and found.name == "FGSM"


@pytest.mark.parametrize("name", NETS)
def test_pgd_stays_within_the_ball_and_the_range(name):
    net, given = make(name), pictures(4)  # in training mode: attacked in evaluation all the same
    with untouched(net):
        found = pgd(net, given, torch.tensor([0, 1, 2, 3]), pixels=PIXELS, eps=EPS, steps=5)
    assert found.linf.max() <= EPS + 1e-5 and found.linf.min() > 0.5 * EPS
    assert found.picture.min() >= 0 and found.picture.max() <= 1


def test_on_a_linear_net_of_two_classes_the_effect_is_that_of_the_hand_computation():
    net = linear(num_classes=2)
    given, label = 0.4 + 0.2 * pictures(6), torch.tensor([0, 0, 0, 1, 1, 1])  # far from the borders
    found = pgd(net, given, label, pixels=PIXELS, eps=0.01, steps=4, random_start=False)
    weight = class_weights(net, (3, 16, 16)) / torch.tensor(PIXELS.std).view(-1, 1, 1)
    dual = (weight[1] - weight[0]).abs().sum()
    with torch.no_grad():
        gap = [net(PIXELS.encode(p)) @ torch.tensor([-1.0, 1.0]) for p in (given, found.picture)]
    side = torch.where(label == 0, 1, -1)  # Hölder: no change of size eps moves the gap by more
    torch.testing.assert_close(side * (gap[1] - gap[0]), (0.01 * dual).expand(6), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.picture, fgsm(net, given, label, pixels=PIXELS, eps=0.01).picture)


def test_the_loss_is_cross_entropy_with_a_gradient_left_at_certainty():
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 1, 2, 3, 0])
    torch.testing.assert_close(cross_entropy(logits, label), F.cross_entropy(logits, label, reduction="none"))
    sure = torch.tensor([[60.0, 0.0, -1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(cross_entropy(sure, torch.tensor([0])).sum(), sure)
    (plain,) = torch.autograd.grad(F.cross_entropy(sure, torch.tensor([0])), sure)
    exact = sure.detach().double().softmax(1) - torch.tensor([1.0, 0, 0])
    exact[0, 0] = -exact[0, 1:].sum()
    assert plain[0, 0] == 0
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-5, atol=0)


def test_a_seed_repeats_the_random_start():
    net, given, label = make("cnn").eval(), pictures(3), torch.tensor([0, 1, 2])

    def last(seed):
        return pgd(net, given, label, pixels=PIXELS, eps=0.3, steps=2, seed=seed).picture

    assert torch.equal(last(0), last(0)) and not torch.equal(last(0), last(1))


def test_targeted_ascent_stops_when_the_net_is_fooled():
    net, given = linear(), pictures(6)
    aimed = (labels(net, given) + 1) % 5
    aimed[0] = labels(net, given)[0]  # there already
    found = targeted_ascent(net, given, aimed, pixels=PIXELS, lr=0.05, steps=200)
    assert (
        torch.equal(found.after, aimed)
        and found.success[1:].all()
        and found.attacked.tolist() == [False] + [True] * 5
    )
    assert torch.equal(found.picture[0], given[0])
    shorter = found.original + (1 - 0.1 / found.l2[1:].max()) * found.change  # two steps less
    assert (labels(net, shorter)[1:] != aimed[1:]).any()


def test_what_counts_as_success():
    before, after = torch.tensor([0, 1, 1, 2]), torch.tensor([1, 1, 0, 2])
    given, moved = torch.full((4, 1, 2, 2), 0.5), torch.full((4, 1, 2, 2), 0.5)
    moved[0], moved[2, 0, 0, 0] = 0.6, 0.9
    label = torch.tensor([0, 1, 0, 2])
    sure = torch.ones(4)
    attack = Attack(
        name="a", original=given, picture=moved, before=before, after=after, p_before=sure, p_after=sure,
        label=label,
    )  # fmt: skip
    assert attack.attacked.tolist() == [True, True, False, True]  # the third was wrong before
    assert attack.success.tolist() == [True, False, False, False]
    torch.testing.assert_close(attack.l2, torch.tensor([0.2, 0, 0.4, 0]))
    torch.testing.assert_close(attack.linf, torch.tensor([0.1, 0, 0.4, 0]))
    aimed = replace(attack, targeted=True, label=torch.tensor([1, 1, 0, 0]))
    assert aimed.attacked.tolist() == [True, False, True, True]
    assert aimed.success.tolist() == [True, False, True, False]


def test_the_perturbation_is_magnified_about_grey():
    given = pictures(2)
    moved = given.clone()
    moved[0, 0, 3, 4] = given[0, 0, 3, 4] + 0.02
    moved[0, 1, 3, 4] = given[0, 1, 3, 4] - 0.01
    none = torch.zeros(2, dtype=torch.long)
    attack = Attack(
        name="a",
        original=given,
        picture=moved,
        before=none,
        after=none,
        p_before=none,
        p_after=none,
        label=none,
    )
    seen = attack.magnified()
    assert seen[0, 0, 3, 4].item() == pytest.approx(1) and seen[0, 1, 3, 4].item() == pytest.approx(
        0.25, abs=1e-4
    )
    assert (seen[1] == 0.5).all()
    assert attack.magnified(10)[0, 0, 3, 4].item() == pytest.approx(0.7, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"eps": 0.0}, "eps"), ({"eps": 0.1, "steps": 0}, "steps")],
)
def test_wrong_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        pgd(linear(), pictures(1), torch.tensor([0]), pixels=PIXELS, **options)
    with pytest.raises(ValueError, match="0…1"):
        fgsm(linear(), PIXELS.encode(pictures(1)), torch.tensor([0]), pixels=PIXELS, eps=EPS)


def test_inference_mode_and_frozen_weights_do_not_matter():
    net, given, label = make("cnn").eval().requires_grad_(False), pictures(2), torch.tensor([0, 1])
    expected = pgd(net, given, label, pixels=PIXELS, eps=EPS, steps=2).picture
    with torch.inference_mode(), untouched(net):
        found = pgd(net, given.clone(), label.clone(), pixels=PIXELS, eps=EPS, steps=2).picture
    assert torch.equal(found, expected)


def test_a_trained_net_is_fooled_by_little(trained):
    net, pixels, given, label = trained
    with torch.no_grad():
        assert (net(pixels.encode(given)).argmax(1) == label).float().mean() > 0.85
    with untouched(net):
        weak, strong = (attack(net, given, label, pixels=pixels, eps=0.15) for attack in (fgsm, pgd))
        aimed = targeted_ascent(net, given, (label + 1) % 10, pixels=pixels)
    torch.manual_seed(0)
    noise = (given + 0.15 * torch.randn_like(given).sign()).clamp(0, 1)
    with torch.no_grad():
        random = ((net(pixels.encode(noise)).argmax(1) != label) & weak.attacked).sum() / weak.attacked.sum()
    rates = [attack.success[attack.attacked].float().mean() for attack in (strong, weak, aimed)]
    assert rates[0] >= rates[1] > random + 0.1
    assert rates[0] > 0.8 and rates[2] > 0.9
    assert strong.linf.max() <= 0.15 + 1e-6


def test_every_class_of_a_trained_net_is_drawn(trained):
    net, pixels, _, _ = trained
    with untouched(net):
        result = visualise_class(
            net, range(10), size=(28, 28), pixels=pixels, ascent=Ascent(steps=60, keep=3)
        )
    assert (result.scores[-1] > result.scores[0]).all()
    with torch.no_grad():
        said = net(pixels.encode(result.pictures[-1])).argmax(1)
    assert (said == torch.arange(10)).float().mean() >= 0.8
