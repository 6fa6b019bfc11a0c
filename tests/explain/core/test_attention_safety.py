"""AttentionReader attention leaves the net as it was, and works in every mode in which nets are run."""

import copy

import pytest
import torch

from fovea.explain.core.attention import capture
from fovea.explain.core.targets import ClassScore
from fovea.explain.methods.class_attention import ClassAttention
from fovea.explain.methods.relevance import Relevance
from fovea.explain.methods.rollout import GradientRollout, Rollout
from helpers.attention_nets import net_and_image
from helpers.explained_nets import assert_unchanged, state_of

pytestmark = pytest.mark.slow
METHODS = [ClassAttention(), Rollout(), GradientRollout(), Relevance()]
NETS = ["vit", "registers_token", "swin", "maxvit"]
ASKED = ClassScore(1)


def named(method):
    return type(method).__name__


def correlation(a, b):
    return torch.corrcoef(torch.stack([a.flatten().float(), b.flatten().float()]))[0, 1].item()


@pytest.fixture(scope="module")
def expected():
    return {
        (name, named(m)): m(net, image, ASKED)
        for name in NETS
        for net, image in [net_and_image(name)]
        for m in METHODS
    }


def fail(*args):
    raise RuntimeError("stop here")


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("method", METHODS, ids=named)
def test_all_is_put_back_also_after_an_error(name, method):
    net, image = copy.deepcopy(net_and_image(name)[0]), net_and_image(name)[1]
    net.train()
    first, *_, last = [m for m in net.modules() if not list(m.children())]
    first.eval()
    next(net.parameters()).requires_grad_(False)
    hook = last.register_forward_hook(fail)
    before = state_of(net)
    with pytest.raises(RuntimeError, match="stop here"):
        method(net, image)
    assert_unchanged(net, before)
    hook.remove()
    before = state_of(net)
    method(net, image)
    assert_unchanged(net, before)
    assert not any("forward" in m.__dict__ for m in net.modules())


@pytest.mark.parametrize("method", [GradientRollout(), Relevance()], ids=named)
def test_all_is_put_back_after_a_target_that_fails(method):
    net, image = net_and_image("swin")
    before = state_of(net)
    with pytest.raises(RuntimeError, match="stop here"):
        method(net, image, fail)
    assert_unchanged(net, before)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("method", METHODS, ids=named)
def test_half_precision(name, method, expected):
    net, image = net_and_image(name)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = method(net, image, ASKED)
    half = copy.deepcopy(net).bfloat16()
    whole = method(half, image.bfloat16(), ASKED)
    for found in (mixed, whole):
        assert found.dtype == torch.float32 and found.isfinite().all()
        assert correlation(found, expected[name, named(method)]) > 0.99


@pytest.mark.parametrize("name", NETS)
def test_the_output_in_half_precision_is_that_of_the_fused_kernel(name):
    net, image = net_and_image(name)
    half, image = copy.deepcopy(net).bfloat16(), image.bfloat16()
    with torch.no_grad():
        plain = half(image)
        with capture(half) as maps:
            seen = half(image)
    assert seen.dtype == torch.bfloat16
    assert (seen - plain).abs().max() <= 0.03 * plain.abs().max()  # bfloat16 keeps 8 bits
    assert all((w.float().sum(-1) - 1).abs().max() < 0.02 for w in maps.values())


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", METHODS, ids=named)
def test_within_validation(name, mode, method, expected):
    net, image = net_and_image(name)
    with mode():
        found = method(net, image.clone(), ASKED)
    assert torch.allclose(found, expected[name, named(method)], atol=1e-6)


def compiled(net, how):
    net = copy.deepcopy(net)
    if how == "wrapped":
        return torch.compile(net, backend="aot_eager")
    if how == "in place":
        net.compile(backend="aot_eager")
    else:
        net.blocks[0].attn = torch.compile(net.blocks[0].attn, backend="aot_eager")
    return net


@pytest.mark.parametrize("how", ["wrapped", "in place", "a part"])
def test_compiled_nets_run_their_own_code(how, expected):
    net, image = net_and_image("vit")
    net = compiled(net, how)
    with torch.no_grad():
        plain = net(image)  # compiles it
    for method in METHODS:
        assert torch.allclose(method(net, image, ASKED), expected["vit", named(method)], atol=1e-6)
    with torch.no_grad():
        assert torch.equal(net(image), plain)


def test_a_compiled_windowed_net(expected):
    net, image = net_and_image("swin")
    net = torch.compile(copy.deepcopy(net), backend="aot_eager")
    for method in METHODS:
        assert torch.allclose(method(net, image, ASKED), expected["swin", named(method)], atol=1e-6)
