import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import DenseNet as Torchvision

from fovea.models.densenet import DenseNet
from helpers.net_protocol import assert_groups, assert_learns, assert_protocol, from_config, size


def thin(**options):
    torch.manual_seed(0)
    return DenseNet(**{"num_classes": 5, "in_channels": 1, "depth": 16, "growth_rate": 4, **options})


@pytest.mark.parametrize(
    "options", [{}, {"dropout": 0.1}, {"memory_efficient": True}, {"compression": 1.0}], ids=str
)
def test_follows_the_protocol_and_learns(options):
    net = thin(**options)
    x = torch.randn(10, 1, 12, 12)
    assert_protocol(net, x)
    assert_groups(net, stages=4, layers=1 + 3 * 2)
    assert_learns(net, x, lr=0.05, steps=30)


@pytest.mark.parametrize(
    ("depth", "growth_rate", "millions"), [(100, 12, "0.8"), (250, 24, "15.3"), (190, 40, "25.6")]
)
def test_parameters_are_those_of_the_paper(depth, growth_rate, millions):
    with torch.device("meta"):
        net = DenseNet(num_classes=10, depth=depth, growth_rate=growth_rate)
    assert f"{size(net) / 1e6:.1f}" == millions
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == depth


def test_equals_torchvision_but_for_the_stem():
    torch.manual_seed(0)
    theirs = Torchvision(growth_rate=12, block_config=(16,) * 3, num_init_features=24, num_classes=10)
    for name in ("norm0", "relu0", "pool0"):
        delattr(theirs.features, name)
    theirs.features.conv0 = nn.Conv2d(3, 24, 3, padding=1, bias=False)
    for norm in (m for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.running_mean, std=0.1)
    ours = DenseNet(num_classes=10)
    assert size(ours) == 769_162
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_memory_efficient_computes_the_same():
    nets = [thin(memory_efficient=False)]
    nets.append(copy.deepcopy(nets[0]))
    x, y = torch.randn(4, 1, 12, 12), torch.arange(4)
    for layer in (m for m in nets[1].modules() if hasattr(m, "memory_efficient")):
        layer.memory_efficient = True
    for net in nets:
        for _ in range(2):
            F.cross_entropy(net(x), y).backward()
    for (name, a), b in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for (name, a), b in zip(nets[0].named_buffers(), nets[1].buffers(), strict=True):
        assert torch.equal(a, b), name  # running statistics count each batch once
    assert nets[1].features.denseblock1.denselayer1.norm1.momentum == 0.1


def test_memory_efficient_keeps_less():
    kept = []
    for memory_efficient in (False, True):
        net, total = thin(depth=64, memory_efficient=memory_efficient), []
        known = {p.data_ptr() for p in net.parameters()}

        def pack(t, total=total, known=known):
            total.append(0 if t.data_ptr() in known else t.numel())
            known.add(t.data_ptr())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            net(torch.randn(2, 1, 16, 16))
        kept.append(sum(total))
    assert kept[1] < 0.5 * kept[0], kept


def test_dropout_acts_in_training_only():
    net, x = thin(dropout=0.5), torch.randn(2, 1, 12, 12)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
    drops = [m for m in net.modules() if isinstance(m, nn.Dropout)]
    assert len(drops) == 3 * 2 + 2 and all(d.p == 0.5 for d in drops)  # every layer and transition


def test_names_do_not_depend_on_the_switches():
    assert list(thin().state_dict()) == list(thin(dropout=0.2, memory_efficient=True).state_dict())


@pytest.mark.parametrize("side", [8, 28, 33])
def test_map_sizes(side):
    net = thin().eval()
    x = torch.randn(2, 1, side, 32)
    assert net.forward_features(x).shape == (2, net.num_features, side // 4, 8)
    assert net(x).shape == (2, 5)


def test_wrong_images_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r"DenseNet.*\(B, 1, H, W\).*8 pixels.* \(2, 1, 32, 7\)"):
        thin()(torch.randn(2, 1, 32, 7))
    with pytest.raises(ValueError, match=r"depth=121.*6 n \+ 4.*118 and 124"):
        DenseNet(num_classes=3, depth=121)
    with pytest.raises(ValueError, match=r"compression=0"):
        DenseNet(num_classes=3, depth=10, compression=0)


def test_config_builds_for_digits():
    net = from_config("densenet_100_12", memory_efficient=True).eval()
    assert size(net) == 769_162 - 2 * 9 * 24  # the stem has one input channel, not three
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 10)
