import pytest
import torch
import torch.nn.functional as F

from fovea.models.cnn import CNN
from fovea.models.mlp import MLP
from fovea.models.timm import create
from fovea.models.vit import Attention, ViT
from helpers.net_protocol import assert_protocol, size

NETS = {
    "mlp": lambda **kw: MLP(num_classes=5, in_channels=3, image_size=16, **kw),
    "cnn": lambda **kw: CNN(num_classes=5, in_channels=3, widths=(8, 16), **kw),
    "vit": lambda **kw: ViT(num_classes=5, in_channels=3, image_size=16, dim=32, depth=2, **kw),
    "timm": lambda **kw: create(name="resnet10t", num_classes=5, in_channels=3, **kw),
}


@pytest.fixture(params=NETS, ids=list(NETS))
def net(request):
    torch.manual_seed(0)
    return NETS[request.param]()


def test_nets_follow_the_protocol(net):
    assert_protocol(net, torch.randn(4, 3, 16, 16))


def test_groups_run_from_stem_to_head(net):
    from timm.models import group_parameters

    layers = group_parameters(net, net.group_matcher(coarse=False), reverse=True)
    names = [n for n, _ in net.named_parameters()]
    assert sorted(layers) == sorted(names)
    head = {id(p) for p in net.get_classifier().parameters()}
    top = max(layers.values())
    assert all(layers[n] == top for n, p in net.named_parameters() if id(p) in head)
    assert layers[names[0]] == 0
    blocks = [layers[n] for n in names if n.startswith(("blocks", "stages"))]
    assert blocks == sorted(blocks)


def test_nets_overfit_one_batch(net):
    x, y = torch.randn(10, 3, 16, 16), torch.arange(10) % 5
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(400):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.02:
            break
    assert loss < 0.02


def test_mlp_counts_and_equals_its_layers():
    net = MLP(num_classes=10, in_channels=1, image_size=[4, 6], hidden=[7, 3]).eval()
    assert size(net) == (24 * 7 + 7) + (7 * 3 + 3) + (3 * 10 + 10)
    x = torch.randn(2, 1, 4, 6)
    a, b = net.blocks[0][0], net.blocks[1][0]
    assert torch.equal(net(x), net.head(b(a(x.flatten(1)).relu()).relu()))
    with pytest.raises(ValueError, match=r"\(1, 4, 6\).*\(1, 6, 4\).*image_size"):
        net(torch.randn(2, 1, 6, 4))


def test_mlp_without_hidden_layers_is_softmax_regression():
    assert size(MLP(num_classes=10, in_channels=1, image_size=8, hidden=[])) == 64 * 10 + 10


@pytest.mark.parametrize("batch_norm", [True, False])
def test_cnn_counts(batch_norm):
    net = CNN(num_classes=10, in_channels=1, widths=(4, 8), stage_depth=2, batch_norm=batch_norm)
    extra = 2 if batch_norm else 1  # a scale and a shift, or a bias, per channel
    assert size(net) == 9 * (4 + 32 + 64) + extra * (4 + 8 + 8) + 8 * 10 + 10


@pytest.mark.parametrize("side", [8, 9, 28, 33])
def test_cnn_takes_any_size_from_eight(side):
    net = CNN(num_classes=3, in_channels=1, widths=(4, 8, 8, 8)).eval()
    assert net.forward_features(torch.randn(2, 1, side, side)).shape == (2, 8, side // 8, side // 8)
    assert net(torch.randn(2, 1, side, side)).shape == (2, 3)


def test_cnn_refuses_more_stages_than_eight_pixels_have():
    with pytest.raises(ValueError, match=r"widths=\[4, 4, 4, 4, 4\]"):
        CNN(num_classes=3, widths=[4] * 5)


def test_cnn_dropout_acts_in_training_only():
    net = CNN(num_classes=3, widths=(8,), dropout=0.5)
    features = net.forward_features(torch.randn(2, 3, 8, 8))
    assert not torch.equal(net.forward_head(features), net.forward_head(features))
    net.eval()
    assert torch.equal(net.forward_head(features), net.forward_head(features))


@pytest.mark.parametrize("class_token", [True, False])
def test_vit_equals_timm(class_token):
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    options = {"class_token": class_token, "depth": 3, "mlp_ratio": 3.0}
    ours = ViT(num_classes=7, image_size=[8, 12], dim=24, heads=3, conv_stem=False, **options).eval()
    theirs = VisionTransformer(
        img_size=(8, 12),
        patch_size=4,
        embed_dim=24,
        num_heads=3,
        num_classes=7,
        global_pool="token" if class_token else "avg",
        fc_norm=False,
        **options,
    ).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.forward_features(x), theirs.forward_features(x))


def test_attention_equals_its_equation():
    attention = Attention(dim=12, heads=3)
    x = torch.randn(2, 5, 12)
    q, k, v = attention.qkv(x).view(2, 5, 3, 3, 4).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-1, -2) / 4**0.5).softmax(-1)
    torch.testing.assert_close(attention(x), attention.proj((weights @ v).transpose(1, 2).reshape(2, 5, 12)))


@pytest.mark.parametrize("patch_size", [1, 2, 4, 6, 7, 16])
def test_conv_stem_gives_the_same_token_grid(patch_size):
    x = torch.randn(1, 3, patch_size * 2, patch_size * 3)
    for conv_stem in (True, False):
        net = ViT(
            num_classes=2,
            image_size=x.shape[-2:],
            patch_size=patch_size,
            dim=8,
            heads=2,
            depth=1,
            conv_stem=conv_stem,
        )
        assert net.patch_embed(x).shape == (1, 6, 8)
        assert net.grid_size == (2, 3)


def test_vit_token_order_is_the_patch_order():
    net = ViT(num_classes=2, image_size=8, patch_size=4, dim=8, heads=2, depth=1, conv_stem=False).eval()
    x = torch.zeros(1, 3, 8, 8)
    x[..., :4, 4:] = 1  # above, on the right
    changed = (net.patch_embed(x) - net.patch_embed(torch.zeros_like(x))).abs().sum(-1)[0] > 0
    assert changed.tolist() == [False, True, False, False]


def test_vit_refuses_sizes_that_do_not_divide():
    with pytest.raises(
        ValueError,
        match=r"\[30, 28\].*patch_size=4.*data\.image_size=\[28,28\] or \[32,28\].*\.patch_size=2$",
    ):
        ViT(num_classes=2, image_size=[30, 28], patch_size=4)
    with pytest.raises(ValueError, match=r"dim=50.*heads=4.*52"):
        ViT(num_classes=2, dim=50, heads=4)
    with pytest.raises(ValueError, match=r"\[28, 28\].*\[32, 32\]"):
        ViT(num_classes=2, dim=8, heads=2, depth=1)(torch.randn(1, 3, 32, 32))


def test_vit_sees_where_a_patch_is():
    net = ViT(num_classes=2, image_size=16, dim=16, heads=2, depth=1, conv_stem=False).eval()
    x = torch.randn(1, 3, 16, 16)
    assert not torch.allclose(net(x), net(x.roll(4, dims=-1)))
