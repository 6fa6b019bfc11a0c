import pytest
import torch
from torch import nn

from fovea.explain.core.targets import ClassScore
from fovea.explain.methods.occlusion import Occlusion
from helpers.explained_nets import CNNS, KINDS, SIDE, assert_unchanged, built, images, state_of

pytestmark = pytest.mark.slow


def by_hand(net, x, classes, *, window, stride, fill):
    """Cover one square at a time and average the drops at each pixel."""
    total, count = torch.zeros(len(x), *x.shape[2:]), torch.zeros(x.shape[2:])
    rows = torch.arange(len(x))
    before = net(x)[rows, classes]
    places = [list(range(0, n - window + stride, stride)) for n in x.shape[2:]]
    for top in places[0]:
        for left in places[1]:
            covered = x.clone()
            covered[..., top : top + window, left : left + window] = fill
            drop = before - net(covered)[rows, classes]
            total[:, top : top + window, left : left + window] += drop[:, None, None]
            count[top : top + window, left : left + window] += 1
    return total / count


@pytest.mark.parametrize("fill", [0.0, 1.5])
@pytest.mark.parametrize("name", ["our_cnn", "swin"])
def test_equals_the_mean_drop_under_each_square(name, fill):
    net, x = built(name), images(3)
    classes = net(x).argmax(1)
    with torch.no_grad():
        expected = by_hand(net, x, classes, window=24, stride=20, fill=fill)
    found = Occlusion(window=24, stride=20, fill=fill, batch_size=7)(net, x)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", [name for name in KINDS if name in CNNS])
def test_every_cnn_has_a_map_and_is_left_as_it_was(name):
    net, x = built(name), images(1)
    net.train()
    before = state_of(net)
    found = Occlusion(window=32, stride=32)(net, x, ClassScore(1))
    assert_unchanged(net, before)
    assert found.shape == (1, SIDE, SIDE) and len(found.unique()) == 4


def test_only_what_is_looked_at_matters():
    class Corner(nn.Module):
        def forward(self, x):
            seen = x[:, :, :10, 50:].mean((1, 2, 3))
            return torch.stack([seen, -seen], dim=1)

    x = images(1).abs() + 1
    found = Occlusion(window=10, stride=5)(Corner(), x, ClassScore(0))[0]
    assert found[20:].abs().max() == 0 and found[:, :40].abs().max() == 0
    assert found.argmax().item() // SIDE < 10 and found.argmax().item() % SIDE >= 50


def test_impossible_squares_are_refused():
    with pytest.raises(ValueError, match="window=8, stride=9"):
        Occlusion(window=8, stride=9)
    with pytest.raises(ValueError, match=r"window=65 .*\[64, 64\]"):
        Occlusion(window=65)(built("our_cnn"), images())
