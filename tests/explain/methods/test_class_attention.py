"""The class map is the row of the tokens that the head reads."""

import pytest
import torch
from torch import nn

from fovea.explain.core.attention import capture
from fovea.explain.core.windows import global_layout
from fovea.explain.methods.class_attention import (
    ClassAttention,
    class_map,
    discard_heads,
    max_heads,
    mean_heads,
    min_heads,
    readout,
)
from helpers.attention_nets import GLOBAL, KINDS, WINDOWED, assert_untouched, dense, net_and_image

pytestmark = pytest.mark.slow


def captured(net, image):
    with torch.no_grad(), capture(net) as maps:
        net(image)
    return maps


@pytest.mark.parametrize("name", GLOBAL)
def test_the_map_is_the_row_of_the_class_token_or_the_mean(name):
    net, image = net_and_image(name)
    maps = captured(net, image)
    path, weights = list(maps.items())[-1]
    layout = maps.layouts[path]
    p = layout.prefix
    expected = {
        "vit": weights[:, :, 0, p:],
        "timm_vit": weights[:, :, 0, p:],
        "timm_any_size": weights[:, :, 0, p:],
        "registers_token": weights[:, :, 0, p:],
        "distilled": weights[:, :, :2, p:].mean(2),
    }.get(name, weights[:, :, p:, p:].mean(2))
    found = class_map(net, weights, layout)
    assert found.shape == (2, weights.shape[1], *layout.grid)
    assert torch.allclose(found.flatten(2), expected, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in GLOBAL if name != "timm_any_size"])
def test_the_readout_is_what_reaches_the_logits(name):
    """Only tokens with weight in the readout change the logits when the last features change."""
    net, image = net_and_image(name)
    layout = list(captured(net, image).layouts.values())[-1]
    features = net.forward_features(image[:1]).detach().requires_grad_()
    (grad,) = torch.autograd.grad(net.forward_head(features).square().sum(), features)
    reached = torch.zeros(layout.tokens)
    reached[layout.index[0]] = grad[0].abs().sum(-1)
    assert torch.equal(reached > 0, readout(net, layout) > 0)
    assert readout(net, layout).sum().item() == pytest.approx(1)


@pytest.mark.parametrize("name", WINDOWED)
def test_windowed_nets_show_the_attention_that_each_patch_receives(name):
    net, image = net_and_image(name)
    maps = captured(net, image)
    for path, layout in maps.layouts.items():
        expected = dense(maps[path], layout).mean(2)
        assert torch.allclose(class_map(net, maps[path], layout).flatten(2), expected, atol=1e-6)


def test_a_net_inside_another_is_found():
    net, image = net_and_image("distilled")
    layout = next(iter(captured(net, image).layouts.values()))
    assert torch.equal(readout(nn.Sequential(net), layout), readout(net, layout))


def test_fusions():
    weights = torch.tensor([0.1, 0.5, 0.3]).view(1, 3, 1, 1)
    assert mean_heads(weights).item() == pytest.approx(0.3)
    assert max_heads(weights).item() == pytest.approx(0.5)
    assert min_heads(weights).item() == pytest.approx(0.1)


def test_heads_that_look_everywhere_are_discarded():
    n = 4
    even, sharp = torch.full((n, n), 1 / n), torch.eye(n)
    soft = 0.5 * even + 0.5 * sharp
    weights = torch.stack([torch.stack([even, sharp, soft]), torch.stack([sharp, soft, even])])
    kept = discard_heads(weights, 0.4)  # floor(0.4 * 3) = 1 of them
    assert torch.equal(kept, torch.stack([torch.stack([sharp, soft]), torch.stack([sharp, soft])]))
    assert torch.equal(discard_heads(weights, 0.99), sharp.expand(2, 1, n, n))
    assert discard_heads(weights, 0.0) is weights
    with pytest.raises(ValueError, match="head_discard_ratio=1"):
        discard_heads(weights, 1)


@pytest.mark.parametrize("name", KINDS)
def test_the_method_works_on_every_net(name):
    net, image = net_and_image(name)
    found = ClassAttention()(net, image)
    assert found.shape == (2, *image.shape[2:]) and found.std() > 0
    assert not torch.equal(found, ClassAttention(layer=0)(net, image))
    largest, smallest = ClassAttention(fuse=max_heads)(net, image), ClassAttention(fuse=min_heads)(net, image)
    assert (largest >= found - 1e-6).all() and (found >= smallest - 1e-6).all()
    assert torch.allclose(ClassAttention()(net, image[1:]), found[1:], atol=1e-5)
    assert_untouched(net)


def test_modes_are_put_back_and_layers_checked():
    net, image = net_and_image("vit")
    net.train()
    net.blocks[0].eval()
    try:
        trained = ClassAttention()(net, image)
        assert net.training and net.blocks[1].training and not net.blocks[0].attn.training
    finally:
        net.eval()
    assert torch.equal(trained, ClassAttention()(net, image))
    with pytest.raises(ValueError, match=r"layer=2: .*2 layers"):
        ClassAttention(layer=2)(net, image)


def test_readout_of_pure_layouts():
    class Token(nn.Module):
        cls_token, global_pool = 1, "token"

    class Pooled(nn.Module):
        cls_token, global_pool = 1, "avg"

    layout = global_layout((1, 2), prefix=2)
    assert readout(Token(), layout).tolist() == [0, 0, 1, 0]
    assert readout(Pooled(), layout).tolist() == [0.5, 0.5, 0, 0]
    assert readout(nn.Identity(), layout).tolist() == [0.5, 0.5, 0, 0]
