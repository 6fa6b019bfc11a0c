"""Captured maps are the softmax that the net computes; nothing stays behind."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from fovea.explain.core.attention import attention_modules, capture
from helpers.attention_nets import GLOBAL, MADE, WINDOWED, assert_untouched, net_and_image

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", MADE)
def test_output_is_unchanged_and_rows_sum_to_one(name):
    net, image = net_and_image(name)
    with torch.no_grad():
        plain = net(image)
        with capture(net) as maps:
            seen = net(image)
        again = net(image)
    assert plain.std() > 1e-3
    assert (seen - plain).abs().max() < 1e-5
    assert torch.equal(again, plain)
    assert len(maps) == len(attention_modules(net)) >= 2
    assert set(maps.layouts) == set(maps)
    for weights in maps.values():
        assert weights.shape[-1] == weights.shape[-2]
        assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5)
        assert weights.amin() >= 0
    assert max(w.std() for w in maps.values()) > 1e-3
    assert_untouched(net)


def test_maps_equal_a_plain_softmax():
    net, image = net_and_image("vit")
    taken = []
    hook = net.blocks[1].attn.register_forward_pre_hook(lambda m, args: taken.append(args[0]))
    with torch.no_grad(), capture(net) as maps:
        net(image)
    hook.remove()
    attn = net.blocks[1].attn
    x = taken[0]
    q, k, _ = attn.qkv(x).chunk(3, dim=-1)
    for head in range(attn.num_heads):
        part = slice(head * attn.head_dim, (head + 1) * attn.head_dim)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / attn.head_dim**0.5
        expected = scores.exp() / scores.exp().sum(-1, keepdim=True)
        assert torch.allclose(maps["blocks.1.attn"][:, head], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["timm_vit", "eva", "beit", "maxvit", "swin"])
def test_maps_equal_those_of_timms_own_unfused_code(name):
    net, image = net_and_image(name)
    own, hooks, fused = {}, [], {}
    for path, module in attention_modules(net).items():
        fused[path], module.fused_attn = module.fused_attn, False
        hooks.append(module.attn_drop.register_forward_hook(lambda m, a, out, p=path: own.update({p: out})))
    try:
        with torch.no_grad():
            net(image)
    finally:
        for path, module in attention_modules(net).items():
            module.fused_attn = fused[path]
        for hook in hooks:
            hook.remove()
    with torch.no_grad(), capture(net) as maps:
        net(image)
    assert list(maps) == list(own)
    for path, weights in maps.items():
        assert torch.allclose(weights, own[path], atol=1e-5), path


OPTIONS = [{}, {"is_causal": True}, {"scale": 0.3}, {"attn_mask": "bool"}, {"attn_mask": "float"}]


@pytest.mark.parametrize("options", [*OPTIONS, {"enable_gqa": True}])
def test_every_option_of_the_fused_kernel(options):
    class Attends(nn.Module):
        num_heads = 4

        def __init__(self):
            super().__init__()
            self.proj = nn.Linear(1, 1)

        def forward(self, q, k, v):
            return F.scaled_dot_product_attention(q, k, v, **options)

    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 6, 8)
    if options.get("enable_gqa"):
        k, v = k[:, :2], v[:, :2]
    mask = torch.rand(6, 6) > 0.4
    mask.fill_diagonal_(True)
    if "attn_mask" in options:
        options = {"attn_mask": mask if options["attn_mask"] == "bool" else torch.randn(6, 6)}
    net = nn.Sequential(Attends())
    plain = net[0](q, k, v)
    with capture(net):
        seen = net[0](q, k, v)
    assert torch.allclose(seen, plain, atol=1e-6)


@pytest.mark.parametrize("name", MADE)
def test_gradients_reach_every_map_also_of_a_frozen_net(name):
    net, image = net_and_image(name)
    with capture(net) as maps:
        score = net(image)[:, 0].sum()
    grads = torch.autograd.grad(score, list(maps.values()))
    assert all(g.abs().max() > 0 for g in grads)
    net.requires_grad_(False)
    try:
        with capture(net) as maps:
            score = net(image)[:, 0].sum()
        frozen = torch.autograd.grad(score, list(maps.values()))
    finally:
        net.requires_grad_(True)
    scale = max(g.abs().max() for g in grads)
    assert all(torch.allclose(f, g, atol=1e-5 * scale) for f, g in zip(frozen, grads, strict=True))
    assert_untouched(net)


def test_gradient_is_the_slope_of_the_score():
    net, image = net_and_image("vit")
    path = "blocks.0.attn"
    with capture(net) as maps:
        score = net(image)[:, 1].sum()
        (grad,) = torch.autograd.grad(score, maps[path])
    attn = net.get_submodule(path)
    torch.manual_seed(1)
    shift = 1e-2 * torch.randn(2, 4, 25, 25)

    def shifted(x, sign):
        b, n, d = x.shape
        q, k, v = attn.qkv(x).view(b, n, 3, 4, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * attn.scale).softmax(-1) + sign * shift
        return attn.proj((weights @ v).transpose(1, 2).reshape(b, n, d))

    scores = []
    for sign in (1, -1):
        attn.forward = lambda x, sign=sign: shifted(x, sign)
        with torch.no_grad():
            scores.append(net(image)[:, 1].sum())
    del attn.forward
    slope = (scores[0] - scores[1]) / 2
    assert torch.allclose(slope, (grad * shift).sum(), rtol=2e-2, atol=1e-4)


def test_restored_after_an_error_and_around_another_wrapper():
    net, image = net_and_image("vit")
    with pytest.raises(RuntimeError, match="stop"), capture(net):
        raise RuntimeError("stop")
    with pytest.raises(ValueError, match="takes images"), capture(net):
        net(image[..., :8])
    assert_untouched(net)
    attn = net.blocks[0].attn
    other = attn.forward
    attn.forward = other
    try:
        with capture(net) as maps:
            net(image)
        assert attn.__dict__["forward"] is other and len(maps) == 2
    finally:
        del attn.forward


def test_a_net_that_uses_no_capture_keeps_its_fused_kernel(monkeypatch):
    net, image = net_and_image("vit")
    calls = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or fused(*a, **k))
    with torch.no_grad():
        net(image)
    assert len(calls) == 2  # asked for by each layer; no softmax in its place


def test_a_later_pass_replaces_the_maps():
    net, image = net_and_image("timm_any_size")
    with torch.no_grad(), capture(net) as maps:
        net(image)
        net(image.transpose(2, 3)[:1])
    assert list(maps) == ["blocks.0.attn", "blocks.1.attn"]
    assert maps["blocks.0.attn"].shape == (1, 3, 9, 9)
    assert maps.layouts["blocks.0.attn"].grid == (2, 4)


def test_a_compiled_net_runs_in_the_open():
    net, image = net_and_image("vit")
    compiled = torch.compile(net, backend="eager")
    with torch.no_grad():
        plain = compiled(image)
        with capture(compiled) as maps:
            seen = compiled(image)
    assert len(maps) == 2 and torch.allclose(seen, plain, atol=1e-5)
    assert_untouched(net)


def test_nets_without_attention_among_patches():
    with pytest.raises(ValueError, match="has no attention"), capture(nn.Sequential(nn.Conv2d(3, 3, 1))):
        pass
    net = timm.create_model("xcit_nano_12_p16_224", img_size=32, depth=1, num_classes=3).eval()
    with torch.no_grad(), capture(net) as maps:
        net(torch.randn(1, 3, 32, 32))
    assert not maps  # it attends among channels


def test_global_and_windowed_cover_all():
    assert {*GLOBAL, *WINDOWED} == set(MADE)
