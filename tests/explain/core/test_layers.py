from functools import partial

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from fovea.explain.core.grid import to_grid
from fovea.explain.core.layers import cam_layer
from fovea.explain.methods.grad_cam import GradCAM
from fovea.models.alexnet import AlexNet
from fovea.models.hooks import record
from fovea.models.lenet import LeNet
from fovea.models.timm import create
from fovea.models.upsampled import Upsampled
from helpers.explained_nets import (
    CLASSES,
    CNNS,
    NETS,
    SIDE,
    TRANSFORMERS,
    assert_unchanged,
    built,
    images,
    state_of,
)

pytestmark = pytest.mark.slow

LAYERS = {
    "resnet": "layer4",
    "vgg": "features.9",
    "our_vgg": "features.9",
    "efficientnet": "bn2",
    "mobilenetv2": "bn2",
    "densenet": "features",
    "our_cnn": "stages",
    "our_tiny": "stages",
    "our_convnet": "stages.2.0",
    "our_wide_resnet": "act",
    "our_vit": "blocks.1.norm1",
    "vit": "blocks.1.norm1",
    "deit": "blocks.1.norm1",
    "swin": "layers.1.blocks.1.norm1",
    "maxvit": "stages.3.blocks.0.attn_grid.norm1",
}


@pytest.mark.parametrize("name", NETS)
def test_layer_and_grid_of_every_net(name):
    net = built(name)
    before = state_of(net)
    layer = cam_layer(net, images())
    assert layer == LAYERS[name]
    with torch.no_grad(), record(net, layer) as seen:
        net(images())
    grid = to_grid(net, seen[layer], (SIDE, SIDE))
    assert grid.ndim == 4 and grid.shape[2] == grid.shape[3] > 1
    assert grid.shape[1] == {"vgg": 16, "our_vgg": 16}.get(name, net.num_features)
    assert_unchanged(net, before)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_grid_keeps_the_places_of_the_patches(name):
    net = built(name).train()
    x = images(1)
    changed = x.clone()
    changed[..., :8, -8:] += 2.0  # upper right corner
    patch = net.stages[0] if name == "maxvit" else net.patch_embed
    maps = []
    with torch.no_grad():
        for image in (x, changed):
            features = patch(net.stem(image)) if name == "maxvit" else patch(image)
            if hasattr(net, "num_prefix_tokens"):
                prefix = torch.zeros(1, net.num_prefix_tokens, features.shape[2])
                features = torch.cat([prefix, features], dim=1)
            maps.append(to_grid(net, features))
    difference = (maps[0] - maps[1]).abs().sum(1)[0]  # (h, w)
    row, column = divmod(int(difference.argmax()), difference.shape[1])
    assert row < difference.shape[0] / 2 and column >= difference.shape[1] / 2


def test_grid_of_images_that_are_not_square():
    options = {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "num_classes": 2}
    fixed = VisionTransformer(img_size=(16, 48), reg_tokens=3, **options)
    tokens = torch.arange(4.0 + 12).view(1, 16, 1).expand(1, 16, 16)
    grid = to_grid(fixed, tokens)
    assert grid.shape == (1, 16, 2, 6)
    assert grid[0, 0].flatten().tolist() == [4.0 + i for i in range(12)]
    free = VisionTransformer(img_size=32, dynamic_img_size=True, **options)
    assert to_grid(free, torch.zeros(1, 13, 16), (48, 16)).shape == (1, 16, 6, 2)
    with pytest.raises(ValueError, match=r"12 tokens .*size=\(H, W\)"):
        to_grid(free, torch.zeros(1, 13, 16))
    with pytest.raises(ValueError, match="have no positions"):
        to_grid(fixed, torch.zeros(1, 16))


def test_hierarchical_tokens_have_a_smaller_grid():
    net = nn.Module()
    net.patch_embed = nn.Module()
    net.patch_embed.grid_size = (8, 16)
    assert to_grid(net, torch.zeros(1, 32, 7)).shape == (1, 7, 4, 8)


def test_channels_last_is_told_by_the_norms():
    swin = built("swin")
    assert to_grid(swin, torch.zeros(1, 4, 6, 32)).shape == (1, 32, 4, 6)
    assert to_grid(built("our_cnn"), torch.zeros(1, 16, 4, 6)).shape == (1, 16, 4, 6)


def test_an_activation_shared_by_layers_is_not_chosen():
    net = LeNet(num_classes=3, in_channels=1).eval()
    assert cam_layer(net) == "c3"


def test_last_relu_before_pooling_in_alexnet():
    net = AlexNet(num_classes=3, widths=(4,) * 5, hidden=[8])
    assert cam_layer(net) == "features.11"
    assert net.training


def test_output_that_is_a_map_means_the_coarsest_layer():
    class Segmenter(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.Conv2d(3, 4, 3, 2, 1)
            self.deep = nn.Conv2d(4, 6, 3, 2, 1)
            self.up = nn.Upsample(scale_factor=4)
            self.out = nn.Conv2d(6, 2, 1)

        def forward(self, x):
            return self.out(self.up(self.deep(self.down(x))))

    assert cam_layer(Segmenter()) == "deep"


def test_nets_inside_a_net_are_found():
    for backbone, layer in (("resnet14t", "layer4"), ("vit_tiny_patch16_224", "blocks.11.norm1")):
        size = {"image_size": 64} if "vit" in backbone else {}
        net = Upsampled(
            backbone=partial(create, name=backbone, **size),
            num_classes=4,
            in_channels=1,
            mean=[0.5],
            std=[0.2],
            size=64,
        )
        x = torch.randn(2, 1, 28, 28)
        assert cam_layer(net) == cam_layer(net, x) == f"net.{layer}"
        with torch.no_grad(), record(net.eval(), f"net.{layer}") as seen:
            net(x)
        grid = to_grid(net, seen[f"net.{layer}"], (28, 28))
        assert grid.shape == (2, net.num_features, *((4, 4) if size else (2, 2)))


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch16_18x2_224",  # two branches of attention, and two of MLPs, in a block
        "vit_base_patch16_xp_224",  # attention and MLP are one module
        "vit_dpwee_patch16_reg1_gap_256",
    ],
)
def test_parallel_blocks_have_the_map_that_the_last_of_them_reads(name):
    """Above it the patches of a net with a class token have no gradient; below it blocks are passed over."""
    net = timm.create_model(
        name, num_classes=CLASSES, img_size=SIDE, depth=3, embed_dim=96, num_heads=2, init_values=1.0
    ).eval()
    assert cam_layer(net, images()) == "blocks.1"
    maps = GradCAM()(net, images())
    assert (maps.mean(1).std(1) > 1e-3).all() and (maps.mean(2).std(1) > 1e-3).all()


class Recurrent(nn.Module):
    """Apply one convolution again and again."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(3):
            x = x + self.conv(x).relu()
        return self.head(x.mean((2, 3)))


def test_weights_that_are_used_again_after_the_last_other_layer_are_named():
    net, x = Recurrent(), torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"come out of conv, which runs several times.*layer=conv"):
        cam_layer(net, x)
    assert GradCAM(layer="conv")(net, x).shape == (1, 32, 32)


def test_nets_without_a_map_are_refused():
    with pytest.raises(ValueError, match="layer="):
        cam_layer(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 3, 2, 2))


def test_all_nets_are_listed():
    assert set(LAYERS) == set(CNNS) | set(TRANSFORMERS)


@pytest.mark.parametrize("reg_tokens", [0, 3])
def test_below_the_class_token_every_token_is_a_patch(reg_tokens):
    net = VisionTransformer(
        img_size=(32, 48),
        patch_size=8,
        embed_dim=16,
        depth=1,
        num_heads=2,
        num_classes=2,
        reg_tokens=reg_tokens,
    ).eval()
    with torch.no_grad(), record(net, "patch_embed", "blocks.0.norm1") as seen:
        net(torch.randn(1, 3, 32, 48))
    patches, tokens = seen["patch_embed"], seen["blocks.0.norm1"]
    assert tokens.shape[1] == patches.shape[1] + 1 + reg_tokens
    assert torch.equal(to_grid(net, patches).flatten(2), patches.transpose(1, 2))
    assert torch.equal(to_grid(net, tokens).flatten(2), tokens[:, 1 + reg_tokens :].transpose(1, 2))


@pytest.mark.parametrize("shape", [(32, 32), (32, 48), (64, 96), (120, 40)])
def test_convolutions_without_a_border_make_maps_of_another_shape(shape):
    net, x = LeNet(num_classes=3).eval(), torch.randn(1, 3, *shape)
    assert cam_layer(net, x) == "c3"
    found = GradCAM()(net, x)
    assert found.shape == (1, *shape)


class Queries(nn.Module):
    """A few learned queries attend to the patches of an image of any size, as in Perceiver."""

    def __init__(self, count=9, *, fixed=False):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 16, 16)
        self.queries = nn.Parameter(torch.randn(count, 8))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 2)
        self.place = nn.Parameter(torch.zeros(16, 8)) if fixed else None

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = x if self.place is None else x + self.place
        x = (self.queries @ x.transpose(1, 2)).softmax(2) @ x
        return self.head(self.norm(x).mean(1))


@pytest.mark.parametrize("fixed", [False, True])
def test_hidden_states_are_no_places_of_the_image(fixed):
    net, x = Queries(fixed=fixed), torch.randn(1, 3, 64, 64)
    assert cam_layer(net, x) == "embed"
    with pytest.raises(ValueError, match=r"layer=norm .*no places"):
        GradCAM(layer="norm")(net, x)
    assert GradCAM(layer="norm", grid=lambda t: t.transpose(1, 2).unflatten(2, (3, 3)))(net, x).shape == (
        1,
        64,
        64,
    )


class Unfolded(nn.Module):
    """A transformer of which no convolution cuts the patches; `fixed` takes images of one size alone."""

    def __init__(self, *, fixed):
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(3 * 64, 8), nn.LayerNorm(8), nn.Linear(8, 2)
        self.place = nn.Parameter(torch.zeros(24 if fixed else 1, 8))

    def forward(self, x):
        x = nn.functional.unfold(x, 8, stride=8).transpose(1, 2)
        return self.head(self.norm(self.embed(x) + self.place).mean(1))


@pytest.mark.parametrize("fixed", [False, True])
def test_patches_without_a_convolution_are_places(fixed):
    net, x = Unfolded(fixed=fixed), torch.randn(1, 3, 32, 48)
    assert cam_layer(net, x) == "norm"
    assert GradCAM()(net, x).shape == (1, 32, 48)


def test_tokens_in_the_order_of_mask_units_are_refused():
    net = create(name="hiera_tiny_224", num_classes=2, image_size=64).eval()
    x = images(1)
    assert cam_layer(net, x) == "blocks.11"
    with pytest.raises(ValueError, match=r"64 tokens .*no grid .*name another layer"):
        GradCAM(layer="blocks.2")(net, x)


def test_a_branch_of_a_block_that_shrinks_is_not_the_last_map():
    class Shrinking(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 4)

        def forward(self, x):
            return self.b(self.a(x)) + x.mean((2, 3), keepdim=True)

    net = nn.Sequential(nn.Conv2d(3, 4, 4, 4), Shrinking(), nn.Flatten(), nn.Linear(4, 2))
    assert cam_layer(net, torch.randn(1, 3, 16, 16)) == "0"


class Pyramid(nn.Module):
    """Pool a map to a coarser one, enlarge that again and add it."""

    def __init__(self):
        super().__init__()
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Conv2d(4, 4, 1))

    def forward(self, x):
        return x + nn.functional.interpolate(self.pool(x), x.shape[2:])


def test_a_pyramid_beside_the_map_of_a_segmentation_net_is_not_chosen():
    net = nn.Sequential(nn.Conv2d(3, 4, 4, 4), Pyramid(), nn.Upsample(scale_factor=4), nn.Conv2d(4, 2, 1))
    assert cam_layer(net, torch.randn(1, 3, 32, 32)) == "1"


@pytest.mark.parametrize("wrap", [lambda y: (y, y), lambda y: {"out": y}], ids=["tuple", "dict"])
def test_outputs_of_several_parts(wrap):
    class Several(nn.Module):
        def __init__(self, *parts):
            super().__init__()
            self.net = nn.Sequential(*parts)

        def forward(self, x):
            return wrap(self.net(x))

    deep = nn.Conv2d(3, 4, 4, 4)
    x = torch.randn(1, 3, 32, 32)
    assert cam_layer(Several(deep, nn.Upsample(scale_factor=4), nn.Conv2d(4, 2, 1)), x) == "net.0"
    classifier = Several(deep, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"the net gives a (tuple|dict): give a target"):
        GradCAM()(classifier, x)
    target = lambda out: next(iter(out.values() if isinstance(out, dict) else out))[:, 0]  # noqa: E731
    assert GradCAM()(classifier, x, target).shape == (1, 32, 32)


def test_a_size_that_the_net_refuses_is_said():
    net = create(name="vit_tiny_patch16_224", num_classes=2)
    with pytest.raises(ValueError, match=r"does not run on images of \(3, 64, 64\)"):
        cam_layer(net, torch.zeros(1, 3, 64, 64))
