import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fovea.compare import cost
from fovea.compare.cost import TimedModel
from fovea.compare.types import ModelGroup


def test_every_round_gives_every_network_one_turn():
    turns = []

    class Net(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, x):
            turns.append((self.name, len(x)))

    one, many = torch.zeros(1), torch.zeros(32)
    models = [
        TimedModel(
            Net(name),
            one,
            many,
        )
        for name in "abc"
    ]
    assert cost.take_turns(models, rounds=8, seconds=100, wait=lambda: None) == (8, 8)
    single = [name for name, size in turns if size == 1][3 * cost.WARM_UP :]
    assert single[::2] == single[1::2]  # an untimed call before each timed one
    rounds = [tuple(single[i : i + 6 : 2]) for i in range(0, len(single), 6)]
    assert len(rounds) == 8 and all(set(one) == set("abc") for one in rounds) and len(set(rounds)) > 2
    assert [len(s.one_s) for s in models] == [len(s.many_s) for s in models] == [8, 8, 8]


def test_slow_networks_get_fewer_rounds(monkeypatch):
    monkeypatch.setattr(cost, "timed", lambda net, x, wait: 0.5 if len(x) > 1 else 0.01)
    models = [TimedModel(None, torch.zeros(1), torch.zeros(32)) for _ in range(2)]
    assert cost.take_turns(models, rounds=50, seconds=20, wait=lambda: None) == (50, 10)
    assert cost.take_turns(models, rounds=50, seconds=1, wait=lambda: None) == (25, 5)


def test_flops_of_attention_count_also_where_it_is_fused():
    tokens, width = 10, 16
    layer = nn.TransformerEncoderLayer(width, 2, 32, batch_first=True).eval()
    projections = 2 * tokens * width * (4 * width + 2 * 32)
    products = 2 * 2 * tokens * tokens * width
    assert cost.flops(layer, torch.zeros(4, tokens, width)) == projections + products
    assert torch.backends.mha.get_fastpath_enabled()


def test_flops_of_a_convolution():
    net = nn.Conv2d(3, 8, 3, padding=1)
    assert cost.flops(net, torch.zeros(1, 3, 6, 6)) == 2 * 36 * 8 * 27


def test_shared_weights_count_once():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    tied = nn.Sequential(net[0], net[0])
    assert cost.size(tied) == 4 * 20
    assert cost.size(net) == 4 * (20 + 4 * 4) + 8


def test_percentiles():
    found = cost.times([i / 1000 for i in range(1, 102)], [0.5, 0.1, 0.4])
    assert found == pytest.approx({"latency_p50_ms": 51, "latency_p95_ms": 96, "images_per_s": 80})
    assert not any(map(math.isnan, found.values()))


@pytest.mark.parametrize(
    ("error", "said"), [(AssertionError(), "AssertionError"), (KeyError("net"), "KeyError: 'net'")]
)
def test_a_network_that_cannot_be_rebuilt_is_named_with_the_reason(tmp_path, error, said):
    def open_net(folder):
        raise error

    run = SimpleNamespace(dir=tmp_path, config={})
    groups = [ModelGroup(name="old", runs=[run])]
    found = cost.measure(groups, open_net=open_net, device=torch.device("cpu"), rounds=1, seconds=1)
    assert found[:2] == ({}, []) and found[2][0].startswith("old is not timed: ") and said in found[2][0]
