import pytest
import torch
from torch import nn

from fovea.models.hooks import record

pytestmark = pytest.mark.slow


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))


def hooks(module):
    return sum(len(m._forward_hooks) for m in module.modules())


def test_taps_named_outputs_in_the_graph():
    model, x = net(), torch.randn(3, 4)
    with record(model, "0", "1") as seen:
        y = model(x)
    assert list(seen) == ["0", "1"] and hooks(model) == 0
    (gradient,) = torch.autograd.grad(y.sum(), seen["0"])
    expected = model[2].weight.sum(0) * (model[0](x) > 0)
    torch.testing.assert_close(gradient, expected)


def test_values_survive_a_change_in_place():
    model, x = net(), torch.randn(30, 4)
    with record(model, "0") as seen:
        y = model(x)
    assert torch.equal(seen["0"], model[0](x)) and seen["0"].min() < 0
    assert torch.equal(y, model(x))


def test_hooks_go_when_the_block_fails():
    model = net()
    with pytest.raises(RuntimeError), record(model, "0", "2"):
        model(torch.randn(3, 7))
    assert hooks(model) == 0


def test_unknown_path_names_the_nearest_and_leaves_no_hook():
    model = nn.ModuleDict({"layer4": net(), "head": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match=r"no layer 'layer4.9'.*layer4.0"), record(model, "head", "layer4.9"):
        pass
    assert hooks(model) == 0


def test_first_tensor_of_a_tuple_and_the_last_of_several_runs():
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    x = torch.randn(2, 3, 4)
    with record(attention, "") as seen:
        found, _ = attention(x, x, x)
    assert torch.equal(seen[""], found)
    model = net()
    with record(model, "2") as seen:
        model(torch.randn(3, 4))
        last = model(torch.randn(6, 4))
    assert torch.equal(seen["2"], last)
