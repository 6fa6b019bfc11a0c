import logging

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.vgg import make_layers

from fovea.models import _hub as hub
from fovea.models import vgg
from fovea.models.vgg import VGG, load, vgg16
from helpers.net_protocol import assert_groups, assert_learns, assert_protocol, from_config, size

THIN = {"depths": (1, 2), "widths": (4, 8), "hidden": (16, 12), "grid": 2}
SMALL = {"hidden": [512], "grid": 1, "round_up": True, "batch_norm": True, "dense_norm": True}
FULL = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
SWITCHES = (
    {},
    {"batch_norm": True},
    {"batch_norm": True, "dense_norm": True, "round_up": True, "grid": 1},
    {"batch_norm": True, "pool_dropout": 0.1, "conv_dropout": [0.1, 0.1], "hidden": [16]},
)


def thin(**options):
    torch.manual_seed(0)
    return VGG(**{"num_classes": 5, "in_channels": 1, "dropout": 0.1, **THIN, **options})


@pytest.mark.parametrize("options", SWITCHES, ids=str)
def test_follows_the_protocol_and_learns(options):
    net = thin(**options)
    x = torch.randn(10, 1, 12, 12)
    dense = len(options.get("hidden", THIN["hidden"]))
    assert_protocol(net, x)
    assert_groups(net, stages=2 + dense, layers=3 + dense)
    assert_learns(net, x, lr=0.02, steps=40)


def test_full_vgg16_is_torchvisions():
    with torch.device("meta"):
        ours, theirs = vgg16(num_classes=1000), torchvision.models.vgg16(weights=None)
    assert size(ours) == 138_357_544
    shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in (ours, theirs)]
    assert shapes[0] == shapes[1] and list(shapes[0]) == list(shapes[1])


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("side", [32, 45])
def test_equals_torchvision(batch_norm, side):
    torch.manual_seed(0)
    config = [c if c == "M" else c // 16 for c in FULL]
    theirs = torchvision.models.VGG(
        make_layers(config, batch_norm=batch_norm), num_classes=7, init_weights=False
    )
    theirs.classifier = nn.Sequential(
        nn.Linear(32 * 49, 20),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(20, 16),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(16, 7),
    )
    ours = VGG(num_classes=7, widths=[4, 8, 16, 32, 32], hidden=(20, 16), batch_norm=batch_norm)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, side, side)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_parameters_of_the_small_nets():
    with torch.device("meta"):
        small = VGG(num_classes=10, **SMALL)
        vgg11 = VGG(
            num_classes=10, depths=(1, 1, 2, 2, 2), **{**SMALL, "hidden": [512, 512], "dense_norm": False}
        )
        theirs = torchvision.models.vgg16_bn(weights=None), torchvision.models.vgg11_bn(weights=None)
    assert [size(net.features) for net in (small, vgg11)] == [size(net.features) for net in theirs]
    assert size(small) == 14_991_946  # as the Keras nets after Liu & Deng count it
    assert size(vgg11) == size(theirs[1].features) + 2 * 513 * 512 + 513 * 10 == 9_756_426
    assert small.num_features == vgg11.num_features == 512


def test_names_do_not_depend_on_dropout():
    plain = thin(batch_norm=True, dropout=0.0)
    names = list(plain.state_dict())
    assert names == list(thin(batch_norm=True, pool_dropout=0.5, conv_dropout=[0.3, 0.4]).state_dict())
    assert names[0] == "features.0.weight" and names[-1] == "classifier.6.bias"


def test_dropout_stands_where_the_config_says():
    net = from_config("vgg16_small")
    rates = [m.p for m in net.features.modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.3, 0.4] + 3 * [0.4, 0.4]
    assert net.pool_drop.p == net.classifier[2].p == 0.5
    x = torch.randn(2, 1, 28, 28)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("side", [17, 28, 32, 64])
def test_small_nets_take_any_size_from_17(side):
    net = VGG(num_classes=3, widths=(4,) * 5, **{**SMALL, "hidden": [8]}).eval()
    x = torch.randn(2, 3, side, 32)
    assert net.forward_features(x).shape == (2, 4, -(-side // 32), 1)
    assert net(x).shape == (2, 3)


def test_wrong_images_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r"VGG.*\(B, 3, H, W\).*32 pixels.* \(1, 3, 28, 28\)"):
        VGG(num_classes=3, widths=(4,) * 5, hidden=[8])(torch.randn(1, 3, 28, 28))
    with pytest.raises(ValueError, match=r"17 pixels.* \(1, 3, 16, 16\)"):
        VGG(num_classes=3, widths=(4,) * 5, **{**SMALL, "hidden": [8]})(torch.randn(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"depths=\[1, 2\].*widths=\[4\]"):
        thin(widths=[4])
    with pytest.raises(ValueError, match=r"conv_dropout=\[0.3\].*every stage"):
        thin(conv_dropout=[0.3])


def test_weights_load_exactly_and_a_new_head_stays(tmp_path, caplog):
    colour = thin(in_channels=3)
    torch.save(colour.state_dict(), tmp_path / "vgg.pth")
    state = colour.state_dict()
    same = thin(in_channels=3, dropout=0.0)
    nn.init.zeros_(same.features[0].weight)
    load(same, tmp_path / "vgg.pth")
    assert all(torch.equal(v, state[k]) for k, v in same.state_dict().items())
    grey = thin(num_classes=9)
    with caplog.at_level(logging.WARNING):
        load(grey, tmp_path / "vgg.pth")
    assert "classifier.6.weight [5, 12] -> [9, 12]" in caplog.text
    own = grey.state_dict()
    torch.testing.assert_close(own.pop("features.0.weight"), state["features.0.weight"].sum(1, keepdim=True))
    assert all(torch.equal(v, state[k]) for k, v in own.items() if not k.startswith("classifier.6."))
    with pytest.raises(ValueError, match=r"mismatched: .*classifier.3.weight \[12, 16\]"):
        load(thin(hidden=(16, 14)), tmp_path / "vgg.pth")


def test_published_weights_out_of_reach_name_the_remedies(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_answers", lambda url, seconds: False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"vgg16-397923af.*model.pretrained=false.*model.checkpoint=PATH"
    ):
        hub.fetch("vgg16", vgg.URL)


def test_cached_weights_need_no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_answers", lambda url, seconds: pytest.fail("asked the network"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = tmp_path / "checkpoints" / "vgg16-397923af.pth"
    path.parent.mkdir()
    path.touch()
    assert hub.fetch("vgg16", vgg.URL) == path
    assert torchvision.models.VGG16_Weights.IMAGENET1K_V1.url == vgg.URL


@pytest.mark.slow
def test_pretrained_vgg16_computes_what_torchvisions_does(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    theirs = torchvision.models.vgg16(weights=None).eval()
    path = tmp_path / "checkpoints" / "vgg16-397923af.pth"
    torch.save(theirs.state_dict(), path)
    ours = vgg16(num_classes=1000, pretrained=True).eval()
    path.unlink()  # half a gigabyte, and pytest keeps the folders of three runs
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
    assert ours.pretrained_cfg["mean"] == torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms().mean


def test_configs_build_for_digits():
    for name in ("vgg11", "vgg16_small"):
        assert from_config(name).eval()(torch.randn(1, 1, 28, 28)).shape == (1, 10)
    with torch.device("meta"):
        net = from_config("vgg16").eval()
        assert size(net) == 138_357_544 - 2 * 9 * 64 - 990 * 4097
        with pytest.raises(ValueError, match=r"32 pixels.* \(1, 1, 28, 28\): set data.image_size=32"):
            net(torch.empty(1, 1, 28, 28))
        assert net(torch.empty(1, 1, 32, 32)).shape == (1, 10)
