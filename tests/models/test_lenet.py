import pytest
import torch
import torch.nn.functional as F

from fovea.models.lenet import TABLE, LeNet, Subsampling, TableConv
from helpers.net_protocol import assert_groups, assert_learns, assert_protocol, from_config, size


@pytest.fixture(params=[True, False], ids=["modern", "classic"])
def net(request):
    torch.manual_seed(0)
    return LeNet(num_classes=10, in_channels=1, modern=request.param)


def test_follows_the_protocol_and_learns(net):
    x = torch.randn(10, 1, 28, 28)
    assert_protocol(net, x)
    assert_groups(net, stages=4, layers=4)
    assert_learns(net, x, lr=0.05, steps=15)


def test_parameters_are_those_of_the_paper():
    classic = LeNet(num_classes=10, in_channels=1, modern=False)
    layers = {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164}
    assert {name: size(getattr(classic, name)) for name in layers} == layers
    assert sum(layers.values()) == 60_000 == size(classic) - size(classic.head)
    modern = LeNet(num_classes=10, in_channels=1)
    assert size(modern) == 60_850 - 12 - 32 + 36 * 25  # no learnt subsampling, and C3 whole


def test_names_are_the_same_in_both():
    names = [set(LeNet(num_classes=10, modern=modern).state_dict()) for modern in (True, False)]
    assert names[1] - names[0] == {"s2.weight", "s2.bias", "s4.weight", "s4.bias"}
    assert not names[0] - names[1]
    assert min(names[0]) == "c1.bias"


@pytest.mark.parametrize(("side", "grid"), [(16, 5), (28, 5), (29, 5), (32, 5), (40, 7)])
def test_map_sizes(net, side, grid):
    net.eval()
    x = torch.randn(2, 1, side, 32)
    assert net.forward_features(x).shape == (2, 16, grid, 5)
    assert net(x).shape == (2, 10)


def test_small_images_get_a_border(net):
    net.eval()
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(net(x), net(F.pad(x, (2, 2, 2, 2))))


def test_table_conv_is_a_convolution_with_holes():
    layer = TableConv()
    x = torch.randn(2, 6, 9, 9)
    weights = iter(layer.weight)
    maps = [sum(F.conv2d(x[:, i : i + 1], next(weights)[None, None]) for i in row) for row in TABLE]
    torch.testing.assert_close(layer(x), torch.cat(maps, 1) + layer.bias[:, None, None])
    assert "c3.index" not in LeNet(num_classes=2, modern=False).state_dict()


def test_subsampling_equals_its_equation():
    layer = Subsampling(channels=2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 1.0]))
        layer.bias.copy_(torch.tensor([0.0, 1.0]))
    x = torch.tensor([[1.0, 2.0], [0.0, -1.0]]).expand(1, 2, 2, 2)  # sums to 2
    assert layer(x).flatten().tolist() == pytest.approx(
        [1.0, 1.7159 * torch.tensor(2.0).tanh().item()], abs=1e-4
    )


def test_wrong_images_are_refused(net):
    with pytest.raises(ValueError, match=r"LeNet.*\(B, 1, H, W\).*16 pixels.* \(2, 1, 28, 15\)"):
        net(torch.randn(2, 1, 28, 15))
    with pytest.raises(
        ValueError, match=r"\(B, 1, H, W\).*got \(2, 3, 28, 28\): set model.net.in_channels=3"
    ):
        net(torch.randn(2, 3, 28, 28))


@pytest.mark.parametrize("modern", [True, False])
def test_config_builds_for_digits(modern):
    net = from_config("lenet", modern=modern)
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 10)
    assert size(net) == (61_706 if modern else 60_850)


def test_a_single_image_is_not_a_batch(net):
    with pytest.raises(ValueError, match=r"got \(1, 28, 28\)"):
        net(torch.randn(1, 28, 28))
