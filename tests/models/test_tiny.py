import pytest
import torch
from hydra import compose, initialize_config_dir

from fovea.config import build
from fovea.config.paths import CONF
from fovea.models.tiny import ResidualBlock, Tiny
from helpers.net_protocol import assert_groups, assert_learns, assert_protocol, from_config, size


@pytest.mark.parametrize("separable", [False, True])
def test_follows_the_protocol_and_learns(separable):
    torch.manual_seed(0)
    net = Tiny(num_classes=10, in_channels=1, separable=separable)
    x = torch.randn(10, 1, 28, 28)
    assert_protocol(net, x)
    assert_groups(net, stages=4, layers=5)
    assert_learns(net, x, lr=0.02, steps=15)


def test_parameters_by_hand():
    def block(i, o):
        return 9 * i * o + 9 * o * o + 4 * o + (0 if i == o else i * o + 2 * o)

    stem, head = 9 * 16 + 2 * 16, 56 * 10 + 10
    stages = block(16, 16) + block(16, 32) + block(32, 32) + block(32, 56)
    assert size(from_config("tiny")) == stem + stages + head == 84_986
    separable = ResidualBlock(16, 32, stride=2, separable=True)
    assert size(separable) == (9 * 16 + 32 + 16 * 32 + 64) + (9 * 32 + 64 + 32 * 32 + 64) + (16 * 32 + 64)


@pytest.mark.parametrize("experiment", ["tiny_fashion", "gender_tiny"])
def test_experiments_stay_below_a_hundred_thousand(experiment):
    with initialize_config_dir(str(CONF)):
        config = compose("train", overrides=[f"experiment={experiment}", "run_dir=nowhere"])
    net = build.make(config.model.net)
    assert size(net) < 100_000
    side, channels = config.data.image_size, config.data.channels
    assert net(torch.randn(2, channels, side, side)).shape == (2, config.data.num_classes)


def test_a_stem_with_stride_halves_the_maps():
    x = torch.randn(1, 3, 64, 64)
    for stride in (1, 2):
        assert Tiny(num_classes=2, stem_stride=stride).forward_features(x).shape[-1] == 16 // stride


def test_stages_must_agree():
    with pytest.raises(ValueError, match=r"widths=\[8, 16\] and depths=\[1\]"):
        Tiny(num_classes=2, widths=(8, 16), depths=(1,))
