"""Distance and entropy of maps whose values are known."""

import math

import pytest
import torch

from fovea.explain.analyses.attention.statistics import (
    attention_distance,
    attention_entropy,
    entropy,
    share_inside,
)
from fovea.explain.core.attention import capture
from fovea.explain.core.windows import dilated_layout, global_layout, shifted_layout
from helpers.attention_nets import dense, net_and_image

pytestmark = pytest.mark.slow


def test_a_head_that_looks_at_itself_and_one_that_looks_everywhere():
    n = 6
    weights = torch.stack([torch.eye(n), torch.full((n, n), 1 / n)])[None]  # (1, 2, n, n)
    layout = global_layout((2, 3))
    assert torch.allclose(entropy(weights), torch.tensor([[0.0, math.log(n)]]))
    assert torch.allclose(attention_entropy(weights, layout), entropy(weights))
    places = [(r, c) for r in range(2) for c in range(3)]
    mean = sum(math.dist(a, b) for a in places for b in places) / n**2
    assert torch.allclose(attention_distance(weights, layout), torch.tensor([[0.0, mean]]))
    pixels = sum(math.dist((a[0] * 4, a[1] * 8), (b[0] * 4, b[1] * 8)) for a in places for b in places) / n**2
    assert attention_distance(weights, layout, patch_size=(4, 8))[0, 1].item() == pytest.approx(pixels)


def test_a_head_that_looks_one_patch_to_the_right():
    layout = global_layout((1, 4), prefix=1)
    weights = torch.zeros(1, 1, 5, 5)
    for patch in range(4):
        weights[0, 0, 1 + patch, 1 + min(patch + 1, 3)] = 0.5
        weights[0, 0, 1 + patch, 0] = 0.5  # the class token has no place
    weights[0, 0, 0, 0] = 1
    assert attention_distance(weights, layout).item() == pytest.approx(3 / 4)
    assert attention_entropy(weights, layout).item() == pytest.approx(4 / 5 * math.log(2))


def test_windows_are_measured_in_the_image():
    even = torch.full((4, 1, 4, 4), 1 / 4)
    near = attention_distance(even, shifted_layout((4, 4), window=(2, 2), shift=(0, 0)))
    far = attention_distance(even, dilated_layout((4, 4), size=(2, 2)))
    assert near.item() == pytest.approx((0 + 1 + 1 + math.sqrt(2)) / 4)
    assert far.item() == pytest.approx(2 * near.item())


def test_padding_does_not_count():
    layout = shifted_layout((3, 3), window=(2, 2), shift=(0, 0))
    even = torch.full((4, 1, 4, 4), 1 / 4)
    windows = [[(0, 0), (0, 1), (1, 0), (1, 1)], [(0, 0), (1, 0)], [(0, 0), (0, 1)], [(0, 0)]]
    mean = sum(sum(math.dist(a, b) for b in w) / len(w) for w in windows for a in w) / 9
    assert attention_distance(even, layout).item() == pytest.approx(mean)
    spoilt = even.clone()
    spoilt[3, 0, 1:] = torch.tensor([1.0, 0, 0, 0])  # rows of padding
    assert attention_entropy(spoilt, layout).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("name", ["vit", "registers_token", "swin_padded", "maxvit"])
def test_every_net_agrees_with_the_whole_grid(name):
    net, image = net_and_image(name)
    with torch.no_grad(), capture(net) as maps:
        net(image)
    assert list(maps.layouts) == list(maps)
    for path, layout in maps.layouts.items():
        h, w = layout.grid
        place = torch.cartesian_prod(
            torch.arange(h) * image.shape[2] / h, torch.arange(w) * image.shape[3] / w
        )
        apart = (place[:, None] - place).norm(dim=-1)
        whole = dense(maps[path], layout)
        expected = ((whole * apart).sum(-1) / whole.sum(-1)).mean((0, 2))
        patch = (image.shape[2] / h, image.shape[3] / w)
        found = attention_distance(maps[path], layout, patch_size=patch).mean(0)
        assert torch.allclose(found, expected, rtol=1e-4)
        entropies = attention_entropy(maps[path], layout)
        assert entropies.shape[1] == maps[path].shape[1]
        assert 0 < entropies.min() <= entropies.max() <= math.log(maps[path].shape[-1])


def test_share_inside_by_hand():
    maps = torch.tensor([[[1.0, 3.0], [-5.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]])
    region = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).expand(3, 2, 2)
    found = share_inside(maps, region)
    assert found[:2].tolist() == [0.25, 0.75]  # the even map gives the region's share of the image
    assert found[2].isnan()
    with pytest.raises(ValueError, match=r"must be \(B, H, W\)"):
        share_inside(maps, region[:1])
