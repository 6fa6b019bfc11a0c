import pytest
import torch
from torch import nn

from fovea.models.convnet import ConvNet, GaussianNoise
from helpers.net_protocol import assert_groups, assert_learns, assert_protocol, from_config, size

SWITCHES = (
    {},
    {"batch_norm": False},
    {"dropout": 0.3},
    {"noise": 0.3},
    {"depth": 2, "widths": (32, 64, 128)},
)


def thin(**options):
    torch.manual_seed(0)
    return ConvNet(**{"num_classes": 5, "in_channels": 1, "widths": (8, 16, 16), "hidden": 32, **options})


@pytest.mark.parametrize("options", SWITCHES, ids=str)
def test_follows_the_protocol_and_learns(options):
    net = thin(**options)
    x = torch.randn(10, 1, 28, 28)
    assert_protocol(net, x)
    assert_groups(net, stages=4, layers=3 * options.get("depth", 1) + 1)
    assert_learns(net, x, lr=0.02 if options.get("batch_norm", True) else 0.01, steps=12)


def test_parameters_of_the_three_sizes():
    def count(widths, depth, hidden, grid):
        before, total = 3, 0
        for width in widths:
            total += 9 * before * width + 9 * (depth - 1) * width**2 + depth * 2 * width
            before = width
        return total + (before * grid**2 + 1) * hidden + (hidden + 1) * 10

    full, simple = (32, 64, 128, 256, 512), (32, 64, 128)
    assert size(ConvNet(num_classes=10)) == count(full, 1, 512, 1) == 1_837_354
    assert size(ConvNet(num_classes=10, widths=simple)) == count(simple, 1, 512, 4) == 1_147_690
    assert size(ConvNet(num_classes=10, widths=simple, depth=2)) == count(simple, 2, 512, 4) == 1_341_674


def test_equals_its_layers():
    net = thin(widths=(4, 8), depth=2).eval()
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_var, 0.5, 2)
    x = torch.randn(2, 1, 32, 32)
    y = x
    for stage in net.stages:
        for unit in stage[:-1]:
            y = unit.norm(nn.functional.conv2d(y, unit.conv.weight, padding=1)).relu()
        y = nn.functional.max_pool2d(y, 2)
    y = net.dense(y.flatten(1)).relu()  # a map of 32 pixels is not averaged
    torch.testing.assert_close(net(x), net.head(y))


def test_names_do_not_depend_on_the_switches():
    names = set(thin().state_dict())
    assert {"stages.0.0.conv.weight", "stages.2.0.norm.running_mean", "dense.weight", "head.bias"} <= names
    assert set(thin(dropout=0.5, noise=0.3).state_dict()) == names
    plain = set(thin(batch_norm=False).state_dict())
    assert {n for n in names if ".norm." not in n} == {n for n in plain if not n.endswith("conv.bias")}


@pytest.mark.parametrize("side", [17, 28, 32, 33, 64])
def test_takes_any_size_from_17(side):
    net = ConvNet(num_classes=3, in_channels=1, widths=(4, 4, 4, 4, 4), hidden=8).eval()
    x = torch.randn(2, 1, side, 32)
    assert net.forward_features(x).shape == (2, 4, -(-side // 32), 1)
    assert net(x).shape == (2, 3)


def test_wrong_images_and_sizes_are_refused():
    net = ConvNet(num_classes=3, in_channels=1, widths=(4, 4, 4, 4, 4), hidden=8)
    with pytest.raises(ValueError, match=r"ConvNet.*\(B, 1, H, W\).*17 pixels.* \(2, 1, 16, 28\)"):
        net(torch.randn(2, 1, 16, 28))
    with pytest.raises(ValueError, match=r"widths=\[8\], depth=0"):
        ConvNet(num_classes=3, widths=[8], depth=0)
    with pytest.raises(ValueError, match=r"noise=-1"):
        ConvNet(num_classes=3, noise=-1)


def test_noise_has_its_deviation_in_training_only():
    torch.manual_seed(0)
    noise = GaussianNoise(std=0.3)
    added = noise(torch.zeros(100, 1000))
    assert added.std().item() == pytest.approx(0.3, rel=0.02) and abs(added.mean().item()) < 0.01
    assert noise.eval()(added) is added
    assert GaussianNoise(std=0.0)(added) is added


@pytest.mark.parametrize("options", [{"noise": 0.3}, {"dropout": 0.5}], ids=str)
def test_noise_and_dropout_act_in_training_only(options):
    net, x = thin(batch_norm=False, **options), torch.randn(2, 1, 28, 28)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
    assert torch.equal(net(x), thin(batch_norm=False).eval()(x))


def test_noise_follows_batch_norm():
    unit = thin(noise=0.3).stages[0][0]
    assert [name for name, _ in unit.named_children()] == ["conv", "norm", "noise", "act"]
    assert isinstance(unit.norm, nn.BatchNorm2d)


@pytest.mark.parametrize("options", SWITCHES, ids=str)
def test_config_builds_for_digits(options):
    net = from_config("convnet", **{k: list(v) if isinstance(v, tuple) else v for k, v in options.items()})
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 10)
