from functools import partial

import pytest
import torch
from timm.layers import BatchNormAct2d, create_conv2d
from timm.models.resnetv2 import DownsampleConv, PreActBasic
from torch import nn

from fovea.models.wide_resnet import WideResNet, WideUnit
from helpers.net_protocol import assert_groups, assert_learns, assert_protocol, from_config, size


@pytest.mark.parametrize("options", [{}, {"dropout": 0.3}, {"width": 1}], ids=str)
def test_follows_the_protocol_and_learns(options):
    torch.manual_seed(0)
    net = WideResNet(**{"num_classes": 5, "in_channels": 1, "depth": 16, "width": 2, **options})
    x = torch.randn(10, 1, 12, 12)
    assert_protocol(net, x)
    assert_groups(net, stages=4, layers=7)
    assert_learns(net, x, steps=30)


@pytest.mark.parametrize(
    ("depth", "width", "millions"), [(28, 10, "36.5"), (16, 8, "11.0"), (40, 4, "8.9"), (22, 8, "17.2")]
)
def test_parameters_are_those_of_the_paper(depth, width, millions):
    with torch.device("meta"):
        net = WideResNet(num_classes=10, depth=depth, width=width)
    assert f"{size(net) / 1e6:.1f}" == millions
    # the three projections are counted as layers: 6 n + 4 = stem + 2 per unit + 3
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == depth


@pytest.mark.parametrize(("out", "stride"), [(8, 1), (16, 1), (16, 2), (8, 2)])
def test_unit_equals_timm(out, stride):
    torch.manual_seed(0)
    layers = {"conv_layer": partial(create_conv2d, bias=False), "norm_layer": BatchNormAct2d}
    theirs = PreActBasic(8, out, stride=stride, proj_layer=DownsampleConv, **layers).eval()
    for norm in (m for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    unit = WideUnit(in_channels=8, out_channels=out, stride=stride, dropout=0.5).eval()
    unit.load_state_dict(
        {k.replace("downsample.conv", "shortcut"): v for k, v in theirs.state_dict().items()}
    )
    x = torch.randn(2, 8, 7, 7)
    torch.testing.assert_close(unit(x), theirs(x))


def test_dropout_stands_between_the_convolutions():
    unit = WideUnit(in_channels=4, out_channels=4, stride=1, dropout=1.0)
    x = torch.randn(2, 4, 7, 7)
    assert torch.equal(unit(x), x)  # all of the second convolution's input is dropped
    assert not torch.equal(unit.eval()(x), x)


def test_names_are_stable():
    names = list(WideResNet(num_classes=10, depth=16, width=1, dropout=0.3).state_dict())
    assert names == list(WideResNet(num_classes=10, depth=16, width=1).state_dict())
    assert names[0] == "stem.weight" and names[-1] == "head.bias"
    assert {"stages.1.0.shortcut.weight", "stages.2.1.norm2.running_var", "norm.weight"} <= set(names)


@pytest.mark.parametrize("side", [8, 28, 33])
def test_map_sizes(side):
    net = WideResNet(num_classes=3, in_channels=1, depth=10, width=2).eval()
    x = torch.randn(2, 1, side, 32)
    assert net.forward_features(x).shape == (2, 128, -(-side // 4), 8)
    assert net(x).shape == (2, 3)


def test_wrong_images_and_sizes_are_refused():
    net = WideResNet(num_classes=3, depth=10, width=1)
    with pytest.raises(ValueError, match=r"wide ResNet.*\(B, 3, H, W\).*8 pixels.* \(2, 3, 7, 32\)"):
        net(torch.randn(2, 3, 7, 32))
    with pytest.raises(ValueError, match=r"depth=32.*6 n \+ 4.*28 and 34"):
        WideResNet(num_classes=3, depth=32)
    with pytest.raises(ValueError, match="width=0"):
        WideResNet(num_classes=3, depth=10, width=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"), [("wrn_28_10", 36_479_194), ("wrn_16_8", 10_961_370), ("wrn_40_4", 8_949_210)]
)
def test_configs_build_for_digits(name, count):
    net = from_config(name).eval()
    assert size(net) == count - 2 * 144  # the stem has one input channel, not three
    assert net(torch.randn(1, 1, 28, 28)).shape == (1, 10)
    assert from_config(name, dropout=0.3).stages[0][0].drop.p == 0.3
