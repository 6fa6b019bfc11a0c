from functools import partial

import pytest
import torch
from timm.layers import BatchNormAct2d, create_conv2d
from timm.models.resnetv2 import DownsampleConv, PreActBasic, PreActBottleneck
from torch import nn
from torchvision.models.resnet import BasicBlock

from fovea.models.resnet_cifar import PadShortcut, ResidualUnit, ResNet
from helpers.net_protocol import assert_groups, assert_learns, assert_protocol, from_config, size

BOTTLENECK = {"bottleneck": True, "pre_activation": True, "projection": True}
KINDS = [
    {"bottleneck": b, "pre_activation": p, "projection": o} for b in (0, 1) for p in (0, 1) for o in (0, 1)
]


def shake(module):
    """Give batch norms statistics and weights that show when they are swapped or left out."""
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return module.eval()


@pytest.mark.parametrize("options", KINDS, ids=lambda o: "".join(k[0] + str(v) for k, v in o.items()))
def test_follows_the_protocol_and_learns(options):
    torch.manual_seed(0)
    units = 2
    depth = units * (9 if options["bottleneck"] else 6) + 2
    net = ResNet(num_classes=5, in_channels=1, depth=depth, widths=(4, 8, 16), **options)
    x = torch.randn(10, 1, 12, 12)
    assert_protocol(net, x)
    assert_groups(net, stages=4, layers=3 * units + 1)
    assert_learns(net, x, lr=0.05)


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.73")]
)
def test_parameters_are_those_of_the_paper(depth, millions):
    with torch.device("meta"):
        net = ResNet(num_classes=10, depth=depth)
    assert f"{size(net) / 1e6:.2f}" == millions
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == depth


def test_parameters_of_the_bottleneck_nets():
    with torch.device("meta"):
        small, large = (ResNet(num_classes=10, depth=depth, **BOTTLENECK) for depth in (47, 164))
    assert f"{size(large) / 1e6:.1f}" == "1.7"  # table 4 of He et al. 2016b
    units = 0
    for width, before in ((16, 16), (32, 64), (64, 128)):
        for wide in (before, *[4 * width] * 4):
            units += wide * width + 9 * width**2 + 4 * width**2 + 2 * (wide + 2 * width)
        units += before * 4 * width
    assert size(small) == 27 * 16 + units + 2 * 256 + 257 * 10 == 497_690
    convs = [m for n, m in small.named_modules() if isinstance(m, nn.Conv2d) and "shortcut" not in n]
    assert len(convs) + 1 == 47


def test_names_are_stable():
    names = list(ResNet(num_classes=10).state_dict())
    assert names[0] == "stem.weight" and names[-1] == "head.bias"
    assert {"stem_norm.weight", "stages.0.0.convs.0.weight", "stages.2.4.norms.1.running_var"} <= set(names)
    assert not [n for n in names if "shortcut" in n]
    assert {"stages.0.0.shortcut.weight", "norm.bias"} <= set(
        ResNet(num_classes=10, depth=47, **BOTTLENECK).state_dict()
    )


def test_pad_shortcut():
    x = torch.randn(2, 3, 5, 5)
    y = PadShortcut(new_channels=4, stride=2)(x)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2]) and y.shape == (2, 7, 3, 3)
    assert not y[:, 3:].any()


@pytest.mark.parametrize("stride", [1, 2])
def test_post_activation_unit_equals_torchvision(stride):
    torch.manual_seed(0)
    down = nn.Sequential(nn.Conv2d(4, 8, 1, stride, bias=False), nn.BatchNorm2d(8))
    theirs = shake(BasicBlock(4, 8, stride, down))
    unit = ResidualUnit(
        widths=[4, 8, 8], kernels=(3, 3), stride=stride, pre_activation=False, projection=True
    ).eval()
    names = {
        "conv1": "convs.0",
        "conv2": "convs.1",
        "bn1": "norms.0",
        "bn2": "norms.1",
        "downsample": "shortcut",
    }
    unit.load_state_dict(_renamed(theirs.state_dict(), names))
    x = torch.randn(2, 4, 7, 7)
    torch.testing.assert_close(unit(x), theirs(x))


@pytest.mark.parametrize(("bottleneck", "stride", "out"), [(False, 2, 16), (False, 1, 8), (True, 1, 32)])
def test_pre_activation_unit_equals_timm(bottleneck, stride, out):
    torch.manual_seed(0)
    block, depth = (PreActBottleneck, 3) if bottleneck else (PreActBasic, 2)
    conv = partial(create_conv2d, bias=False)
    layers = {"conv_layer": conv, "norm_layer": BatchNormAct2d, "proj_layer": DownsampleConv}
    theirs = shake(block(8, out, stride=stride, bottle_ratio=0.25 if bottleneck else 1.0, **layers))
    widths, kernels = ([8, 8, 8, 32], (1, 3, 1)) if bottleneck else ([8, out, out], (3, 3))
    unit = ResidualUnit(
        widths=widths, kernels=kernels, stride=stride, pre_activation=True, projection=True
    ).eval()
    names = {f"conv{i + 1}": f"convs.{i}" for i in range(depth)} | {"downsample.conv": "shortcut"}
    names |= {f"norm{i + 1}": f"norms.{i}" for i in range(depth)}
    unit.load_state_dict(_renamed(theirs.state_dict(), names))
    x = torch.randn(2, 8, 7, 7)
    torch.testing.assert_close(unit(x), theirs(x))


def _renamed(state, names):
    for old, new in names.items():
        state = {k.replace(old, new) if k.startswith(f"{old}.") else k: v for k, v in state.items()}
    return state


@pytest.mark.parametrize("side", [8, 28, 33])
def test_map_sizes(side):
    net = ResNet(num_classes=3, in_channels=1, depth=8).eval()
    x = torch.randn(2, 1, side, 32)
    assert net.forward_features(x).shape == (2, 64, -(-side // 4), 8)
    assert net(x).shape == (2, 3)


def test_wrong_images_and_depths_are_refused():
    with pytest.raises(ValueError, match=r"ResNet.*\(B, 3, H, W\).*8 pixels.* \(2, 3, 7, 32\)"):
        ResNet(num_classes=3, depth=8)(torch.randn(2, 3, 7, 32))
    with pytest.raises(ValueError, match=r"depth=34.*6 n \+ 2.*32 and 38"):
        ResNet(num_classes=3, depth=34)
    with pytest.raises(ValueError, match=r"depth=50.*bottleneck.*9 n \+ 2.*47 and 56"):
        ResNet(num_classes=3, depth=50, bottleneck=True)
    with pytest.raises(ValueError, match=r"depth=2.*8 and 14"):
        ResNet(num_classes=3, depth=2)


@pytest.mark.parametrize(
    ("name", "count"), [("resnet32", 464_154 - 2 * 144), ("resnet47", 497_690 - 2 * 144)]
)
def test_configs_build_for_digits(name, count):
    net = from_config(name).eval()
    assert size(net) == count  # the stem has one input channel, not three
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 10)
