"""Relevance follows the equations of Chefer et al. (2021), computed by hand on a tiny net."""

import pytest
import torch
from torch import nn

from fovea.explain.core.method import enlarge
from fovea.explain.core.targets import ClassScore
from fovea.explain.methods.relevance import Relevance, weighted
from helpers.attention_nets import KINDS, assert_untouched, net_and_image

pytestmark = pytest.mark.slow


def test_equations_on_numbers_that_fit_on_paper():
    weights = torch.tensor([[[0.5, 0.5], [0.2, 0.8]], [[1.0, 0.0], [0.4, 0.6]]])[None]  # two heads
    grads = torch.tensor([[[2.0, -2.0], [1.0, 0.0]], [[1.0, 5.0], [-1.0, 2.0]]])[None]
    # products [[1, -1], [.2, 0]] and [[1, 0], [-.4, 1.2]]; the negative are dropped before the mean
    bar = torch.tensor([[1.0, 0.0], [0.1, 0.6]])
    assert torch.allclose(weighted(weights, grads)[0], bar)


class Tiny(nn.Module):
    """Two layers of one head each over a class token and four patches, with a gradient that is known."""

    class Attention(nn.Module):
        num_heads = 1

        def __init__(self):
            super().__init__()
            self.qk, self.proj = nn.Linear(4, 8, bias=False), nn.Linear(4, 4, bias=False)

        def forward(self, x):
            q, k = self.qk(x)[:, None].chunk(2, -1)
            return nn.functional.scaled_dot_product_attention(q, k, self.proj(x)[:, None])[:, 0]

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(1, 4, 2, 2)
        self.grid_size = (2, 2)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 4))
        self.blocks = nn.ModuleList(Tiny.Attention() for _ in range(2))
        self.head = nn.Linear(4, 3)

    def forward(self, image):
        x = self.patch_embed(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x[:, 0])


def by_hand(net, image, label):
    """Write out the maps, and the gradient of one class at each by the chain rule."""
    x = net.patch_embed(image).flatten(2).transpose(1, 2)
    x = torch.cat([net.cls_token.expand(len(x), -1, -1), x], 1)
    maps, inputs = [], []
    for block in net.blocks:
        q, k = block.qk(x).chunk(2, -1)
        maps.append((q @ k.transpose(1, 2) / 2).softmax(-1))
        inputs.append(x)
        x = x + maps[-1] @ block.proj(x)
    w = net.head.weight[label]
    # y = w . x2[0]; x2 = x1 + A2 V2: dy/dA2[0, j] = w . V2[j], 0 in other rows
    last = torch.zeros_like(maps[1])
    last[:, 0] = net.blocks[1].proj(inputs[1]) @ w
    # x1 = x0 + A1 V1: dy/dA1[i, j] = (dy/dx1[i]) . V1[j], with dy/dx1 through skip, values, queries and keys
    x1 = inputs[1].detach().requires_grad_()
    block = net.blocks[1]
    q, k = block.qk(x1).chunk(2, -1)
    out = x1 + (q @ k.transpose(1, 2) / 2).softmax(-1) @ block.proj(x1)
    (slope,) = torch.autograd.grad((out[:, 0] @ w).sum(), x1)
    first = slope @ net.blocks[0].proj(inputs[0]).transpose(1, 2)
    return maps, [first, last]


def test_the_method_on_a_tiny_net_by_hand():
    torch.manual_seed(0)
    net, image = Tiny().eval(), torch.randn(2, 1, 4, 4)
    maps, grads = by_hand(net, image, 1)
    total = torch.eye(5).expand(2, 5, 5)
    for weights, grad in zip(maps, grads, strict=True):
        total = total + (weights * grad).clamp_min(0) @ total
    expected = enlarge(total[:, 0, 1:].unflatten(1, (2, 2)), (4, 4))
    found = Relevance()(net, image, ClassScore(1))
    assert expected.abs().max() > 1e-3
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_it_works_on_every_net_and_leaves_it_alone(name):
    net, image = net_and_image(name)
    found = Relevance()(net, image)
    assert found.shape == (2, *image.shape[2:]) and found.isfinite().all() and found.std() > 0
    assert found.min() >= -1e-5 * found.max()
    assert torch.allclose(Relevance()(net, image[1:]), found[1:], atol=1e-4 * float(found.max()))
    other = (net(image).argmin(1)).tolist()
    assert not torch.allclose(
        Relevance()(net, image, ClassScore(other)), found, atol=1e-3 * float(found.max())
    )
    assert_untouched(net)


def test_a_constant_score_has_no_relevance():
    net, image = net_and_image("vit_mean")
    found = Relevance()(net, image, lambda logits: 0 * logits[:, 0])
    assert found.abs().max() < 1e-6  # the identity is taken off


def test_it_finds_the_patch_that_decides():
    """A net trained to tell where the bright patch is not: the map peaks at what makes the class."""
    torch.manual_seed(0)
    from fovea.models.vit import ViT

    net = ViT(
        num_classes=2, in_channels=1, image_size=16, patch_size=4, dim=16, depth=2, heads=2, conv_stem=False
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)

    def batch(count):
        image, label = 0.1 * torch.randn(count, 1, 16, 16), torch.randint(2, (count,))
        cell = torch.randint(16, (count,))
        for i in range(count):
            r, c = 4 * int(cell[i] // 4), 4 * int(cell[i] % 4)
            image[i, 0, r : r + 4, c : c + 4] += 2.0 if label[i] else -2.0
        return image, label, cell

    for _ in range(80):
        image, label, _ = batch(64)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(image), label).backward()
        optimizer.step()
    net.zero_grad()
    image, label, cell = batch(32)
    net.eval()
    assert (net(image).argmax(1) == label).float().mean() > 0.9
    found = Relevance()(net, image, ClassScore(label))
    peak = nn.functional.avg_pool2d(found[:, None], 4).flatten(1).argmax(1)
    assert (peak == cell).float().mean() > 0.7  # 1/16 by chance
