"""Maps of tokens in an order of a net's own are refused, in every method that draws them."""

import pytest
import torch
from torch import nn

from fovea.explain.analyses.feature_maps import feature_maps
from fovea.explain.methods.cam import CAM
from fovea.explain.methods.class_attention import ClassAttention
from fovea.explain.methods.eigen_cam import EigenCAM
from fovea.explain.methods.grad_cam import GradCAM
from fovea.explain.methods.relevance import Relevance
from fovea.explain.methods.rollout import GradientRollout, Rollout
from fovea.models.vit import ViT

METHODS = [GradCAM, EigenCAM, ClassAttention, Rollout, GradientRollout, Relevance]
SIZES = [(32, 32), (32, 48)]
REFUSED = "change elsewhere than the image does.*layer=.*saliency"


class Reordered(nn.Module):
    """A patch embedding whose tokens come in an order of its own."""

    def __init__(self, embed, order):
        super().__init__()
        self.embed, self.order, self.grid_size = embed, order, None

    def forward(self, x):
        tokens = self.embed(x)
        return tokens[:, self.order]


class TokenLast(ViT):
    """A vision transformer with the class token behind the patches."""

    def __init__(self, **options):
        super().__init__(**options)
        self.blocks.insert(0, Roll(-1))

    def forward_features(self, x):
        return super().forward_features(x).roll(1, 1)


class Roll(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, x):
        return x.roll(self.by, 1)


class Turned(nn.Module):
    """A net that sees the image transposed or mirrored."""

    def __init__(self, turn):
        super().__init__()
        self.turn = turn
        self.net = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1))
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.net(self.turn(x)).mean((2, 3)))


def vit(size, kind=ViT):
    torch.manual_seed(0)
    return kind(num_classes=4, image_size=list(size), patch_size=4, dim=32, depth=3, conv_stem=False).eval()


def orders(height, width):
    index = torch.arange(height * width).view(height, width)
    snake = index.clone()
    snake[1::2] = snake[1::2].flip(1)
    return {"columns": index.T.flatten(), "backwards": index.flatten().flip(0), "snake": snake.flatten()}


@pytest.mark.parametrize("size", SIZES, ids=["square", "wide"])
@pytest.mark.parametrize("order", ["columns", "backwards", "snake"])
def test_tokens_in_another_order_are_refused(order, size):
    net, x = vit(size), torch.randn(2, 3, *size)
    grid = (size[0] // 4, size[1] // 4)
    net.patch_embed = Reordered(net.patch_embed, orders(*grid)[order])
    net.patch_embed.grid_size = grid
    for method in METHODS:
        with pytest.raises(ValueError, match=REFUSED):
            method()(net, x)
    with pytest.raises(ValueError, match=REFUSED):
        feature_maps(net, x, "blocks.1")


@pytest.mark.parametrize("size", SIZES, ids=["square", "wide"])
def test_class_token_that_is_not_the_first_is_refused(size):
    net, x = vit(size, TokenLast), torch.randn(2, 3, *size)
    for method in METHODS:
        with pytest.raises(ValueError, match=REFUSED):
            method()(net, x)


@pytest.mark.parametrize("turn", [lambda x: x.transpose(2, 3), lambda x: x.flip(3)], ids=["turned", "mirror"])
@pytest.mark.parametrize("size", SIZES, ids=["square", "wide"])
def test_image_that_the_net_turns_is_refused(turn, size):
    for method in (GradCAM, EigenCAM, CAM):
        with pytest.raises(ValueError, match=REFUSED):
            method()(Turned(turn), torch.randn(1, 3, *size))


@pytest.mark.parametrize("size", SIZES, ids=["square", "wide"])
def test_tokens_in_rows_are_taken_and_tried_once(size):
    net, x = vit(size), torch.zeros(2, 3, *size)  # a blank image shows changes as well as any
    seen = []
    net.register_forward_pre_hook(lambda *_: seen.append(1))
    counts = []
    for method in [GradCAM, GradCAM, Rollout, Rollout]:
        before = len(seen)
        assert method()(net, x).isfinite().all()
        counts.append(len(seen) - before)
    assert counts[1] <= counts[0] - 9 and counts[3] <= counts[2] - 9
