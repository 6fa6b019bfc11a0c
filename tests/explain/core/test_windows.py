"""Maps of windows land on their own patches, with the cyclic shift undone."""

import pytest
import torch

from fovea.explain.core.attention import capture
from fovea.explain.core.windows import dilated_layout, global_layout, shifted_layout
from helpers.attention_nets import GLOBAL, WINDOWED, dense, net_and_image

pytestmark = pytest.mark.slow


def test_shifted_windows_by_hand():
    layout = shifted_layout((4, 4), window=(2, 2), shift=(1, 1))
    # rolled by one up and left, the first window holds rows 1-2 and columns 1-2
    assert layout.index.tolist() == [[5, 6, 9, 10], [7, 4, 11, 8], [13, 14, 1, 2], [15, 12, 3, 0]]


def test_padding_has_no_patch():
    layout = shifted_layout((3, 3), window=(2, 2), shift=(0, 0))
    assert layout.index.tolist() == [[0, 1, 3, 4], [2, 9, 5, 9], [6, 7, 9, 9], [8, 9, 9, 9]]


def test_dilated_windows_by_hand():
    layout = dilated_layout((4, 6), size=(2, 2))
    assert layout.index[0].tolist() == [0, 3, 12, 15]
    assert layout.index.shape == (6, 4)
    assert sorted(layout.index.flatten().tolist()) == list(range(24))


def test_prefix_tokens_come_after_the_patches():
    layout = global_layout((2, 3), prefix=2)
    assert layout.index.tolist() == [[6, 7, 0, 1, 2, 3, 4, 5]]
    assert (layout.patches, layout.tokens) == (6, 8)


@pytest.mark.parametrize("name", WINDOWED)
def test_every_patch_lies_in_one_window_and_its_map_is_in_place(name):
    net, image = net_and_image(name)
    with torch.no_grad(), capture(net) as maps:
        net(image)
    shifts = 0
    for path, layout in maps.layouts.items():
        real = layout.index[layout.index < layout.tokens]
        assert sorted(real.tolist()) == list(range(layout.patches))
        whole = dense(maps[path], layout)  # (B, heads, h w, h w)
        full = (layout.index < layout.tokens).all()
        total = whole.sum(-1)
        assert total.amax() < 1 + 1e-5 and (not full or total.amin() > 1 - 1e-5)
        shifts += int(layout.index[0, 0] != 0)
    assert shifts or "maxvit" in name


@pytest.mark.parametrize("name", WINDOWED)
def test_the_map_says_which_patches_change_the_output_of_the_attention(name):
    """Change one patch before a block: only patches whose map reaches it change in the attention's output."""
    net, image = net_and_image(name)
    with torch.no_grad(), capture(net) as maps:
        net(image)
    for path, layout in maps.layouts.items():
        block = net.get_submodule(path.rpartition(".")[0])
        (height, width), channels = layout.grid, _channels(block)
        torch.manual_seed(0)
        x = torch.randn(1, height, width, channels)
        changed = x.clone()
        row, column = height // 2, width - 1
        changed[0, row, column] += 3
        part = getattr(block, "_attn", None) or block._partition_attn
        with torch.no_grad(), capture(net) as again:
            moved = (part(changed) - part(x)).abs().amax(-1)[0] > 1e-7  # (h, w)
            block(x)
        whole = dense(again[path], layout)[0].mean(0)  # (h w, h w)
        reached = whole[:, row * width + column].view(height, width) > 1e-12
        assert torch.equal(moved, reached), path


def _channels(block):
    return block.attn.proj.in_features


def test_swin_attention_on_the_grid_is_the_masked_attention_of_the_image():
    """Multiply the map on the grid by the values of the image: it is what the block's windows give."""
    net, image = net_and_image("swin")
    with torch.no_grad(), capture(net) as maps:
        net(image)
        for path, layout in list(maps.layouts.items()):
            block, attn = net.get_submodule(path.rpartition(".")[0]), net.get_submodule(path)
            x = torch.randn(1, *layout.grid, _channels(block))
            expected = block._attn(x)
            whole = dense(maps[path], layout)  # (1, heads, h w, h w)
            values = attn.qkv(x).flatten(1, 2).chunk(3, -1)[2].unflatten(-1, (attn.num_heads, -1))
            out = attn.proj((whole @ values.transpose(1, 2)).transpose(1, 2).flatten(2))
            assert torch.allclose(out.view_as(expected), expected, atol=1e-4), path


@pytest.mark.parametrize("name", GLOBAL)
def test_global_maps_lose_only_the_prefix(name):
    net, image = net_and_image(name)
    with torch.no_grad(), capture(net) as maps:
        net(image)
    (path, layout), *_ = maps.layouts.items()
    prefix = {"vit": 1, "vit_mean": 0, "distilled": 2, "registers": 4, "registers_token": 5, "gap": 0}.get(
        name, 1
    )
    assert layout.prefix == prefix
    patch = {"vit": 4, "vit_mean": 4, "eva": 14, "registers_token": 14}.get(name, 16)
    assert layout.grid == (image.shape[2] // patch, image.shape[3] // patch)
    assert torch.equal(dense(maps[path], layout), maps[path][:, :, prefix:, prefix:])


def test_errors_name_the_remedy():
    layout = global_layout((2, 3))
    weights = torch.rand(1, 1, 6, 6)
    with pytest.raises(ValueError, match="1 windows of 6 tokens"):
        dense(weights[..., :5], layout)
