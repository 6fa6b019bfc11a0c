from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fovea.models.bilinear import Bilinear, CompactBilinear, match_size, outer, signed_sqrt
from fovea.models.feature_map import FeatureMap
from fovea.optim.finetune import Finetune


class Maps(nn.Module):
    """A convolution in place of a pretrained net."""

    def __init__(self, *, channels=4, stride=2, pretrained=False, checkpoint=None):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, stride)
        self.num_features = channels
        self.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.5)}
        self.given = (pretrained, checkpoint)

    def forward(self, x):
        return self.conv(x).relu()


def bilinear(**kw):
    torch.manual_seed(0)
    options = {"first": Maps, "second": partial(Maps, channels=5, stride=4), "num_classes": 3}
    return Bilinear(**{**options, "in_channels": 1, "mean": [0.3], "std": [0.4], **kw}).double()


def test_features_equal_the_paper_written_with_einsum():
    net = bilinear()
    x = torch.randn(2, 1, 18, 18, dtype=torch.float64)
    pixels = (x * 0.4 + 0.3).expand(-1, 3, -1, -1)
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
    )
    a, b = (branch((pixels - mean) / std) for branch in net.nets)  # (B, 4, 8, 8), (B, 5, 4, 4)
    a = F.avg_pool2d(a, 2)
    y = torch.einsum("bchw,bdhw->bcd", a, b).flatten(1) / 16
    y = y.sign() * y.abs().sqrt()
    y = y / y.norm(dim=1, keepdim=True)
    torch.testing.assert_close(net.forward_features(x), y, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net(x), net.head(net.forward_features(x)))


def test_dimensions_are_the_product_or_those_of_the_sketch():
    x = torch.randn(2, 1, 18, 18, dtype=torch.float64)
    for kw, features in (({}, 20), ({"second": None}, 16), ({"compact_dim": 7}, 7)):
        net = bilinear(**kw)
        assert net.forward_features(x).shape == (2, features) == (2, net.num_features)
        assert net.head.weight.shape == (3, features)
        torch.testing.assert_close(net.forward_features(x).norm(dim=1), torch.ones(2, dtype=torch.float64))
    assert len(bilinear(second=None).nets) == 1


def test_one_shared_net_gives_symmetric_products():
    net = bilinear(second=None)
    square = net.forward_features(torch.randn(2, 1, 18, 18, dtype=torch.float64)).view(2, 4, 4)
    torch.testing.assert_close(square, square.transpose(1, 2))


def test_gradients_are_right_and_finite_where_features_are_dead():
    a, b = (torch.rand(2, c, 3, 3, dtype=torch.float64).add(0.1).requires_grad_() for c in (3, 2))
    assert torch.autograd.gradcheck(lambda a, b: F.normalize(signed_sqrt(outer(a, b))), (a, b))
    sketch = CompactBilinear(channels=(3, 2), dim=5).double()
    assert torch.autograd.gradcheck(sketch, (a, b))
    for kw in ({}, {"compact_dim": 6}):
        net = bilinear(**kw)
        for branch in net.nets:
            branch.conv.weight.data[:2] = 0  # two channels that never fire
            branch.conv.bias.data[:2] = 0
        net(torch.randn(2, 1, 18, 18, dtype=torch.float64)).sum().backward()
        assert all(p.grad.isfinite().all() for p in net.parameters())
        assert net.nets[0].conv.weight.grad.abs().sum() > 0
    zero = torch.zeros(2, 4, requires_grad=True)
    F.normalize(signed_sqrt(zero)).sum().backward()
    assert torch.equal(zero.grad, torch.zeros(2, 4))


def test_signed_sqrt_keeps_the_sign():
    x = torch.tensor([-4.0, -1e-30, 0.0, 9.0])
    torch.testing.assert_close(signed_sqrt(x), torch.tensor([-2.0, 0.0, 0.0, 3.0]), atol=2e-5, rtol=0)


def test_maps_of_two_sizes_meet_at_the_smaller_height_and_width():
    a, b = match_size(torch.rand(1, 2, 8, 3), torch.rand(1, 5, 4, 6))
    assert a.shape == (1, 2, 4, 3) and b.shape == (1, 5, 4, 3)
    same = torch.rand(1, 2, 4, 4)
    assert match_size(same, torch.rand(1, 2, 8, 8))[0] is same


def test_the_sketch_is_the_circular_convolution_of_its_definition():
    sketch = CompactBilinear(channels=(3, 4), dim=6, seed=2).double()
    a, b = torch.randn(1, 3, 1, 1, dtype=torch.float64), torch.randn(1, 4, 1, 1, dtype=torch.float64)
    expected = torch.zeros(6, dtype=torch.float64)
    for i in range(3):
        for j in range(4):
            place = int(sketch.place_0[i] + sketch.place_1[j]) % 6
            expected[place] += (sketch.sign_0[i] * sketch.sign_1[j] * a[0, i] * b[0, j]).item()
    torch.testing.assert_close(sketch(a, b)[0], expected)


def test_inner_products_of_sketches_estimate_those_of_outer_products():
    torch.manual_seed(0)
    a, b = torch.rand(2, 6, 2, 2), torch.rand(2, 5, 2, 2)
    full = outer(a, b)
    estimates = []
    for seed in range(200):
        one, two = CompactBilinear(channels=(6, 5), dim=64, seed=seed)(a, b)
        estimates.append((one @ two).item())
    assert sum(estimates) / 200 == pytest.approx((full[0] @ full[1]).item(), rel=0.05)


def test_the_sketch_is_the_same_after_saving_and_for_a_seed():
    one, two = (CompactBilinear(channels=(6, 5), dim=8, seed=s) for s in (0, 1))
    a, b = torch.rand(2, 6, 2, 2), torch.rand(2, 5, 2, 2)
    assert not torch.equal(one(a, b), two(a, b))
    assert torch.equal(one(a, b), CompactBilinear(channels=(6, 5), dim=8)(a, b))
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(a, b), two(a, b))


def test_half_precision_pools_in_single(monkeypatch):
    net, x = bilinear().float(), torch.randn(4, 1, 18, 18)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net.forward_features(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), net.forward_features(x), atol=0.02, rtol=0.05)


def test_fine_tuning_finds_head_and_both_nets():
    net = Bilinear(
        first=partial(FeatureMap, name="resnet10t"), second=partial(FeatureMap, name="mobilenetv3_small_050"),
        num_classes=3, mean=[0.5] * 3, std=[0.5] * 3,
    )  # fmt: skip
    head = {"head.weight", "head.bias"}
    names = {n for n, _ in net.named_parameters()}
    plan = Finetune(unfreeze_epoch=2, backbone_lr_scale=0.01)
    assert plan.trainable(net, 0) == head and plan.trainable(net, 2) == names
    frozen = plan.frozen_modules(net, 0)
    assert all(any(m is f for f in frozen) for m in net.nets.modules() if isinstance(m, nn.BatchNorm2d))
    scales = plan.lr_scales(net)
    assert {n for n in names if scales[n][1] == 1} == head
    gradual = Finetune(unfreeze_epoch=1, stage_epochs=1)
    second = gradual.trainable(net, 1) - head
    assert {n.split(".")[1] for n in second} == {"0", "1"}  # the last stages of both nets
    assert any(gradual.trainable(net, e) == names for e in range(12))
    decay = Finetune(layer_decay=0.5).lr_scales(net)
    assert decay["nets.0.net.conv1.0.weight"][1] < decay["nets.0.net.layer4.0.conv1.weight"][1] < 1


def test_weights_are_asked_for_by_the_wrapper():
    net = bilinear(pretrained=True, checkpoint=["a", None])
    assert [branch.given for branch in net.nets] == [(True, "a"), (True, None)]
    with pytest.raises(ValueError, match=r"2 nets"):
        bilinear(checkpoint=["a"])
    with pytest.raises(ValueError, match=r"in_channels=3 .*mean=\[0.3\]"):
        bilinear(in_channels=3)


@pytest.mark.slow
@pytest.mark.parametrize("compact_dim", [None, 16])
def test_it_overfits_one_batch(compact_dim):
    net = bilinear(compact_dim=compact_dim).float()
    x, y = torch.randn(9, 1, 18, 18), torch.arange(9) % 3
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(300):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
