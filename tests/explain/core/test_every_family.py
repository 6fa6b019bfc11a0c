"""The layer, the grid and the maps of every family of timm, on images that are wide where it takes them."""

from itertools import permutations, product

import pytest
import pytorch_grad_cam
import timm
import torch

from fovea.explain.core.attention import attention_modules
from fovea.explain.core.grid import to_grid
from fovea.explain.core.layers import cam_layer
from fovea.explain.core.targets import ClassScore
from fovea.explain.methods.class_attention import ClassAttention
from fovea.explain.methods.grad_cam import GradCAM
from fovea.explain.methods.relevance import Relevance
from fovea.explain.methods.rollout import GradientRollout, Rollout
from fovea.models.hooks import record
from helpers.timm_families import LAYERS, SMALLEST, near_sighted, small

pytestmark = pytest.mark.slow
LARGE = 1e4  # times the logit: the package adds 1e-7 to what it divides by


def maps_of(net, x, layer):
    """Return Grad-CAM's maps with the sign of each image's score with which it is not 0, and those signs."""
    signs = torch.ones(2)
    for _ in range(2):
        found = GradCAM(layer=layer)(net, x, lambda out: LARGE * signs * ClassScore([3, 1])(out))
        zero = found.flatten(1).amax(1) == 0
        if not zero.any():
            break
        signs[zero] = -1
    return found, signs


# The random weights of these spread every quarter of an image over all of their last map.
FAR_SIGHTED = {
    "convmixer",
    "cspnext",
    "efficientvim",
    "inception_v4",
    "levit",
    "metaformer",
    "nextvit",
    "pnasnet",
}


@pytest.mark.parametrize("family", timm.list_modules())
def test_maps(family):
    net, x = small(family)
    size = tuple(x.shape[2:])
    layer = cam_layer(net, x)
    assert layer == LAYERS[family]
    with torch.no_grad(), record(net, layer) as seen:
        net(x)
    grid = to_grid(net, seen[layer], size)
    assert len(grid) == 2 and min(grid.shape[2:]) > 1
    found, signs = maps_of(net, x, layer)
    assert found.shape == (2, *size)
    for one in found:
        assert one.mean(0).std() > 1e-4 and one.mean(1).std() > 1e-4, "stripes"
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    targets = [lambda out, c=c, s=s: LARGE * s * out[c] for c, s in zip((3, 1), signs, strict=True)]
    for module in net.modules():
        if getattr(module, "inplace", False):  # the package reads what a ReLU in place has overwritten
            module.inplace = False
    theirs = pytorch_grad_cam.GradCAM(
        model=net, target_layers=[net.get_submodule(layer)], reshape_transform=lambda t: to_grid(net, t, size)
    )
    with theirs as cam:
        expected = torch.from_numpy(cam(input_tensor=x, targets=targets))
    torch.testing.assert_close(found.float(), expected, atol=1e-3, rtol=0)
    check_attention(net, x, family)
    if family not in FAR_SIGHTED:
        assert nearest_quarters(near_sighted(net), x, layer) == (0, 1, 2, 3)


def quarters(height, width):
    """Yield the slices of the upper left, upper right, lower left and lower right quarter."""
    for row, column in product((0, 1), (0, 1)):
        yield (
            slice(row * height // 2, (row + 1) * height // 2),
            slice(column * width // 2, (column + 1) * width // 2),
        )


def nearest_quarters(net, x, layer):
    """Change each quarter of an image; return in which corner of the layer's grid each shows most.

    Of what is common to a change, and to a corner, nothing counts.
    """
    size = tuple(x.shape[2:])
    images = x[:1].repeat(5, 1, 1, 1)  # the last stays as it is
    noise = 0.5 * torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(3)).to(x)
    for image, place in zip(images, quarters(*size), strict=False):
        image[:, *place] += noise[:, *place]
    with torch.no_grad(), record(net, layer) as seen:
        net(images)
    grid = to_grid(net, seen[layer], size).double()
    changed = (grid[:4] - grid[4:]).square().sum(1)  # (4, h, w)
    table = changed[:, [0, 0, -1, -1], [0, -1, 0, -1]].clamp_min(1e-300).log()  # (quarter, corner)
    table = table - table.mean(0, keepdim=True) - table.mean(1, keepdim=True)
    return max(permutations(range(4)), key=lambda corners: sum(table[i, c] for i, c in enumerate(corners)))


# Of these no layer of attention has its patches where the maps can be placed, or the class token joins late.
WITHOUT_ROLLOUT = {
    "byoanet", "cait", "coat", "crossvit", "csatv2", "davit", "edgenext", "efficientformer", "gcvit",
    "hieradet_sam2", "levit", "mobilevit", "mvitv2", "naflexvit", "nest", "nextvit", "pit", "pvt_v2",
    "tiny_vit", "tnt", "twins", "vision_transformer_sam", "volo", "xcit",
}  # fmt: skip


def check_attention(net, x, family):
    if not attention_modules(net) or family in WITHOUT_ROLLOUT:
        for method in (Rollout(), GradientRollout(), Relevance()):
            with pytest.raises(ValueError, match="CAM"):
                method(net, x)
        return
    for method in (Rollout(), ClassAttention(), GradientRollout(), Relevance()):
        found = method(net, x)
        assert found.shape == (2, *x.shape[2:]) and found.isfinite().all()
        if not getattr(method, "targeted", True):  # the gradients of random weights may all be negative
            assert (found.mean(1).std(1) > 1e-7).all() and (found.mean(2).std(1) > 1e-7).all(), "stripes"


def test_every_family_is_listed():
    assert set(SMALLEST) == set(LAYERS) == set(timm.list_modules())
