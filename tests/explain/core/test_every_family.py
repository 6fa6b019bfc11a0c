"""The layer, the grid and the maps of every family of timm, on images that are square and that are not."""

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
from helpers.timm_families import OF_ONE_SIZE, SMALLEST, small

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


@pytest.mark.parametrize("shape", [(1, 1), (2, 3)], ids=["square", "wide"])
@pytest.mark.parametrize("family", timm.list_modules())
def test_maps(family, shape):
    net, x = small(family, shape)
    if net is None:
        pytest.skip(f"{SMALLEST[family]} takes square images of its own size alone")
    size = tuple(x.shape[2:])
    layer = cam_layer(net, x)
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
    if shape == (2, 3) or family in OF_ONE_SIZE:
        check_attention(net, x, family)


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
    assert set(SMALLEST) == set(timm.list_modules())
