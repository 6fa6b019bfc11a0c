"""Rollout is the product of the layers, computed here by hand and row by row."""

import pytest
import torch
import torch.nn.functional as F

from fovea.explain.core.attention import capture
from fovea.explain.core.method import enlarge
from fovea.explain.core.targets import ClassScore
from fovea.explain.core.windows import global_layout, shifted_layout
from fovea.explain.methods.class_attention import max_heads, mean_heads, min_heads, readout
from fovea.explain.methods.rollout import (
    GradientRollout,
    Rollout,
    discard,
    follow,
    layer_matrix,
    with_gradients,
)
from helpers.attention_nets import GLOBAL, KINDS, assert_untouched, dense, net_and_image

pytestmark = pytest.mark.slow


def rollout(maps, *, fuse=mean_heads, **options):
    """Multiply the layers, last times ... times first: maps (B, heads, N, N) to (B, N, N)."""
    out = torch.eye(maps[0].shape[-1])
    for weights in maps:
        out = layer_matrix(fuse(weights), **options) @ out
    return out


def test_two_layers_by_hand():
    """Abnar and Zuidema (2020), Eq. 1, on numbers that fit on paper."""
    first = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    second = torch.tensor([[0.2, 0.8], [1.0, 0.0]])
    found = rollout([first.view(1, 1, 2, 2), second.view(1, 1, 2, 2)])
    # 0.5 W + 0.5 I: [[.75, .25], [0, 1]] and [[.6, .4], [.5, .5]]; second @ first
    assert torch.allclose(found[0], torch.tensor([[0.45, 0.55], [0.375, 0.625]]))
    bare = rollout([first.view(1, 1, 2, 2), second.view(1, 1, 2, 2)], residual=False)
    assert torch.allclose(bare[0], torch.tensor([[0.1, 0.9], [0.5, 0.5]]))


def test_discard_drops_the_smallest_weights_of_each_image():
    matrix = torch.tensor([[[0.1, 0.9], [0.4, 0.6]], [[0.7, 0.3], [0.8, 0.2]]])
    assert torch.equal(
        discard(matrix, 0.5), torch.tensor([[[0.0, 0.9], [0.0, 0.6]], [[0.7, 0.0], [0.8, 0.0]]])
    )
    assert torch.equal(discard(matrix, 0.0), matrix)
    mixed = layer_matrix(matrix, discard_ratio=0.5)
    expected = torch.tensor([[0.5, 0.45], [0.0, 0.8]]) / torch.tensor([[0.95], [0.8]])
    assert torch.allclose(mixed[0], expected)
    for ratio in (-0.1, 1.0):
        with pytest.raises(ValueError, match="discard_ratio"):
            discard(matrix, ratio)


@pytest.mark.parametrize("name", GLOBAL)
@pytest.mark.parametrize("options", [{}, {"residual": False}, {"discard_ratio": 0.6, "fuse": max_heads}])
def test_the_method_shows_the_row_that_the_head_reads(name, options):
    net, image = net_and_image(name)
    with torch.no_grad(), capture(net) as maps:
        net(image)
    layout = next(iter(maps.layouts.values()))
    whole = rollout(list(maps.values()), **options)
    rows = (readout(net, layout)[layout.index[0]] @ whole)[:, layout.prefix :]
    expected = enlarge(rows.unflatten(1, layout.grid), image.shape[2:])
    assert torch.allclose(Rollout(**options)(net, image), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["swin", "maxvit"])
def test_windowed_rollout_is_the_product_on_the_whole_grid(name):
    net, image = net_and_image(name)
    with torch.no_grad(), capture(net) as maps:
        net(image)
    total, last = None, None
    for path, layout in maps.layouts.items():
        matrix = dense(layer_matrix(mean_heads(maps[path]))[:, None], layout)[:, 0]
        if total is not None and layout.grid != last:  # each of the merged patches counts alike
            columns = total.shape[-1]
            maps_of_rows = total.transpose(1, 2).unflatten(2, last)
            total = F.avg_pool2d(maps_of_rows, 2).flatten(2).transpose(1, 2)
            assert total.shape[-1] == columns
        total = matrix if total is None else matrix @ total
        last = layout.grid
    first = next(iter(maps.layouts.values())).grid
    expected = enlarge(total.mean(1).unflatten(1, first), image.shape[2:])
    found = Rollout()(net, image)
    assert torch.allclose(found, expected, atol=1e-6)


def test_follow_keeps_what_prefix_tokens_carry_and_drops_padding():
    layout = global_layout((1, 2), prefix=1)
    matrix = torch.tensor([[[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])  # class token first
    row = torch.tensor([[0.0, 0.0, 1.0]])  # patches, then the class token
    assert torch.allclose(follow(row, [(matrix, layout)]), torch.tensor([[0.3, 0.5, 0.2]]))
    twice = follow(row, [(matrix, layout), (matrix, layout)])
    assert torch.allclose(twice, torch.tensor([[0.06, 0.6, 0.34]]))
    padded = shifted_layout((1, 1), window=(1, 2), shift=(0, 0))
    assert follow(torch.ones(1, 1), [(torch.full((1, 2, 2), 0.5), padded)]).tolist() == [[0.5]]


@pytest.mark.parametrize("method", [Rollout(), Rollout(discard_ratio=0.5, head_discard_ratio=0.5),
                                    Rollout(fuse=min_heads), GradientRollout()])  # fmt: skip
@pytest.mark.parametrize("name", KINDS)
def test_methods_work_on_every_net_and_leave_it_alone(name, method):
    net, image = net_and_image(name)
    found = method(net, image)
    assert found.shape == (2, *image.shape[2:]) and found.isfinite().all()
    assert found.min() >= 0 and found.std() > 0
    assert torch.allclose(method(net, image[1:]), found[1:], atol=1e-5)  # images do not mix
    assert not found.requires_grad
    assert_untouched(net)


def test_gradient_rollout_by_hand():
    net, image = net_and_image("vit")
    with capture(net) as maps:
        score = net(image)[:, 2].sum()
    grads = torch.autograd.grad(score, list(maps.values()))
    eye, total = torch.eye(25), torch.eye(25).expand(2, 25, 25)
    for weights, grad in zip(maps.values(), grads, strict=True):
        mixed = (weights.detach() * grad).mean(1).clamp_min(0) + eye
        total = mixed / mixed.sum(-1, keepdim=True) @ total
    expected = enlarge(total[:, 0, 1:].unflatten(1, (4, 6)), image.shape[2:])
    assert torch.allclose(GradientRollout()(net, image, ClassScore(2)), expected, atol=1e-6)


def test_gradient_rollout_speaks_for_the_target():
    net, image = net_and_image("timm_vit")
    method = GradientRollout()
    assert not torch.allclose(method(net, image, ClassScore(0)), method(net, image, ClassScore(1)), atol=1e-6)
    predicted = net(image).argmax(1)
    assert torch.equal(method(net, image), method(net, image, ClassScore(predicted)))


def test_gradients_under_no_grad_inference_mode_and_checkpoints():
    net, image = net_and_image("timm_vit")
    expected = GradientRollout()(net, image)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.allclose(GradientRollout()(net, image.clone()), expected, atol=1e-6)
    net.set_grad_checkpointing(True)
    try:
        maps, grads = with_gradients(net, image, None)
        assert list(maps) == list(grads) == ["blocks.0.attn", "blocks.1.attn"]
        assert torch.allclose(GradientRollout()(net, image), expected, atol=1e-6)
    finally:
        net.set_grad_checkpointing(False)
