import pytest
import torch
import torchvision
from torch import nn

from fovea.explain.analyses.filters import filter_weights
from fovea.models.alexnet import AlexNet
from helpers.net_protocol import assert_groups, assert_learns, assert_protocol, from_config, size

THIN = {"num_classes": 5, "widths": (4, 8, 8, 8, 6), "hidden": (16, 12), "grid": 2, "dropout": 0.1}
ZF = {"kernel": 7, "stride": 2, "second_stride": 2}
COLOUR = {"num_classes": 1000, "channels": 3, "image_size": 224}


@pytest.mark.parametrize("options", [{}, ZF, {"hidden": ()}], ids=str)
def test_follows_the_protocol_and_learns(options):
    torch.manual_seed(0)
    net = AlexNet(**{**THIN, "in_channels": 1, **options})
    x = torch.randn(10, 1, 67, 67)
    dense = len(options.get("hidden", THIN["hidden"]))
    assert_protocol(net, x)
    assert_groups(net, stages=3 + dense, layers=5 + dense)
    assert_learns(net, x, lr=0.01, steps=40)


def test_equals_torchvision():
    torch.manual_seed(0)
    with torch.device("meta"):
        theirs = torchvision.models.alexnet(num_classes=7)
        ours = AlexNet(num_classes=7, widths=(64, 192, 384, 256, 256))
    state = {k: v.shape for k, v in theirs.state_dict().items()}
    assert state == {k: v.shape for k, v in ours.state_dict().items()}
    ours = AlexNet(num_classes=7, widths=(64, 192, 384, 256, 256), hidden=[32, 32]).eval()
    theirs = torchvision.models.alexnet(num_classes=7).features
    theirs.load_state_dict(ours.features.state_dict())
    for side in (64, 100):
        x = torch.randn(1, 3, side, side)
        torch.testing.assert_close(ours.forward_features(x), theirs(x))


def test_configs_differ_in_two_convolutions():
    with torch.device("meta"):
        alexnet, zfnet = (from_config(name, data=COLOUR) for name in ("alexnet", "zfnet"))
        x = torch.empty(1, 3, 224, 224)
        assert [net.features[0](x).shape[1:] for net in (alexnet, zfnet)] == [(96, 55, 55), (96, 110, 110)]
        assert [net.forward_features(x).shape[1:] for net in (alexnet, zfnet)] == 2 * [(256, 6, 6)]
    convs = [[m for m in net.features if isinstance(m, nn.Conv2d)] for net in (alexnet, zfnet)]
    differing = [i for i, (a, b) in enumerate(zip(*convs, strict=True)) if repr(a) != repr(b)]
    assert differing == [0, 1]
    assert (convs[0][0].kernel_size, convs[0][0].stride) == ((11, 11), (4, 4))
    assert (convs[1][0].kernel_size, convs[1][0].stride) == ((7, 7), (2, 2))
    assert (convs[0][1].stride, convs[1][1].stride) == ((1, 1), (2, 2))
    assert [size(net) for net in (alexnet, zfnet)] == [62_378_344, 62_378_344 - 96 * 3 * (11**2 - 7**2)]


@pytest.mark.parametrize("options", [{}, ZF], ids=["alexnet", "zfnet"])
def test_smallest_image_is_the_smallest_that_runs(options):
    net = AlexNet(**{**THIN, **options}).eval()
    assert net.smallest == (57 if options else 63)
    assert net(torch.randn(1, 3, net.smallest, net.smallest)).shape == (1, 5)
    small = torch.randn(1, 3, net.smallest - 1, net.smallest)
    with pytest.raises(RuntimeError):
        net.features(small)
    with pytest.raises(ValueError, match=f"set data.image_size={net.smallest} or more"):
        net(small)


def test_first_filters_have_the_papers_size():
    filters = [filter_weights(AlexNet(**{**THIN, **options})) for options in ({}, ZF)]
    assert [tuple(f.shape) for f in filters] == [(4, 3, 11, 11), (4, 3, 7, 7)]


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match=r"widths=\[4, 4\].*five widths"):
        AlexNet(num_classes=2, widths=[4, 4])
    with pytest.raises(ValueError, match="stride=0"):
        AlexNet(num_classes=2, stride=0)
