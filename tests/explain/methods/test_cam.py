"""Class activation maps: parity with the grad-cam package, and what the papers say of them."""

import pytest
import pytorch_grad_cam
import torch
from torch import nn

from fovea.explain.core.grid import to_grid
from fovea.explain.core.layers import cam_layer
from fovea.explain.core.targets import ClassScore
from fovea.explain.methods.cam import CAM
from fovea.explain.methods.eigen_cam import EigenCAM
from fovea.explain.methods.grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from fovea.explain.methods.score_cam import ScoreCAM
from fovea.tasks.segmentation.explain import ClassArea
from helpers.explained_nets import CNNS, KINDS, SIDE, built, images

pytestmark = pytest.mark.slow

PAIRS = {
    "grad_cam": (GradCAM, pytorch_grad_cam.GradCAM),
    "grad_cam++": (GradCAMPlusPlus, pytorch_grad_cam.GradCAMPlusPlus),
    "layer_cam": (LayerCAM, pytorch_grad_cam.LayerCAM),
}
NARROW = ("densenet", "our_wide_resnet", "vit", "maxvit")  # few channels, for Score-CAM
AVERAGED = [n for n in CNNS if "vgg" not in n and n != "our_convnet"] + ["swin"]
CLASSES = [3, 1]


def reference(method, net, x, layer, classes, sign=1):
    """Maps of the grad-cam package, of the same layer."""
    targets = [lambda logits, c=c: sign * logits[c] for c in classes]
    module = net.get_submodule(layer)
    with method(model=net, target_layers=[module], reshape_transform=lambda t: to_grid(net, t)) as cam:
        return torch.from_numpy(cam(input_tensor=x, targets=targets))


@pytest.mark.parametrize("method", PAIRS)
@pytest.mark.parametrize("name", KINDS)
def test_gradient_maps_equal_the_packages(name, method):
    net, x = built(name), images()
    ours, theirs = PAIRS[method]
    largest = []
    for sign in (1, -1):  # the map of a random net may be negative everywhere, which is 0
        found = ours()(net, x, lambda logits, sign=sign: sign * ClassScore(CLASSES)(logits))
        expected = reference(theirs, net, x, cam_layer(net, x), CLASSES, sign)
        assert found.shape == (2, SIDE, SIDE)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        largest.append(found.amax())
    assert max(largest) == 1


@pytest.mark.parametrize("layer", ["layer2.0.bn2", "layer3", "act1"])
def test_any_layer_can_be_named_also_below_an_in_place_relu(layer):
    net, x = built("resnet"), images()
    before = net.get_submodule(layer)
    changes_in_place = [m for m in net.modules() if isinstance(m, nn.ReLU) and m.inplace]
    for module in changes_in_place:  # the package reads what a ReLU in place has overwritten
        module.inplace = False
    expected = reference(pytorch_grad_cam.GradCAM, net, x, layer, CLASSES)
    for module in changes_in_place:
        module.inplace = True
    assert changes_in_place and net.get_submodule(layer) is before
    found = GradCAM(layer=layer)(net, x, ClassScore(CLASSES))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NARROW)
def test_score_cam_equals_the_packages(name):
    net, x = built(name), images()
    found = ScoreCAM(batch_size=7)(net, x, ClassScore(CLASSES))
    expected = reference(pytorch_grad_cam.ScoreCAM, net, x, cam_layer(net, x), CLASSES)
    assert found.amax() == 1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", KINDS)
def test_eigen_cam_equals_the_packages_up_to_the_free_sign(name):
    net, x = built(name), images()
    layer = cam_layer(net, x)
    found = EigenCAM()(net, x)
    expected = reference(pytorch_grad_cam.EigenCAM, net, x, layer, CLASSES)
    project = pytorch_grad_cam.eigen_cam.get_2d_projection
    try:
        pytorch_grad_cam.eigen_cam.get_2d_projection = lambda a: -project(a)
        mirrored = reference(pytorch_grad_cam.EigenCAM, net, x, layer, CLASSES)
    finally:
        pytorch_grad_cam.eigen_cam.get_2d_projection = project
    for ours, *theirs in zip(found, expected, mirrored, strict=True):
        assert min((ours - t).abs().max() for t in theirs) < 1e-4
    assert ours.amax() == 1


def test_eigen_cam_is_positive_where_features_are_strong():
    class Bright(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 1)

        def forward(self, x):
            return self.conv(x).relu().mean((2, 3))

    torch.manual_seed(0)
    x = torch.zeros(1, 3, 12, 12)
    x[..., 2:5, 7:10] = 3.0
    net = Bright()
    nn.init.uniform_(net.conv.weight, 0.5, 1.0)
    found = EigenCAM(layer="conv")(net, x)[0]
    assert found[2:5, 7:10].min() > 0.99 and found[8:, :5].max() == 0


@pytest.mark.parametrize("name", AVERAGED)
def test_cam_averages_to_the_logit_and_is_grad_cam_where_positive(name):
    net, x = built(name), images()
    raw = CAM(stretch=False, grid=_keep(net))
    target = ClassScore(CLASSES)
    found = raw(net, x, target)
    features = net.forward_features(x)
    logits = target(net(x)).detach()
    bias = net.get_classifier().bias.detach()[CLASSES]
    maps = torch.einsum("bdhw,bd->bhw", to_grid(net, features), net.get_classifier().weight[CLASSES]).detach()
    torch.testing.assert_close(maps.mean((1, 2)) + bias, logits, atol=1e-3, rtol=1e-3)
    enlarged = nn.functional.interpolate(maps[:, None], (SIDE, SIDE), mode="bilinear")[:, 0]
    torch.testing.assert_close(found, enlarged, atol=1e-4, rtol=1e-4)
    if name != "swin":  # of which Grad-CAM reads another layer
        area = maps[0].numel()
        cam = CAM(stretch=False)(net, x, target)
        relu = nn.functional.interpolate(maps.relu()[:, None], (SIDE, SIDE), mode="bilinear")[:, 0]
        grad_cam = GradCAM(stretch=False)(net, x, target)
        torch.testing.assert_close(grad_cam * area, relu, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(cam, enlarged, atol=1e-4, rtol=1e-4)


def _keep(net):
    return lambda features: to_grid(net, features)


@pytest.mark.parametrize("name", ["vgg", "our_vgg", "our_convnet", "vit", "deit"])
def test_cam_refuses_other_heads(name):
    with pytest.raises(ValueError, match=r"Grad-CAM"):
        CAM()(built(name), images())


def test_the_predicted_class_is_the_default_and_images_do_not_mix():
    net, x = built("our_cnn"), images(4)
    predicted = net(x).argmax(1)
    for method in (GradCAM(), ScoreCAM(), CAM()):
        found = method(net, x)
        assert torch.equal(found, method(net, x, ClassScore(predicted)))
        torch.testing.assert_close(found[2:3], method(net, x[2:3]), atol=1e-4, rtol=0)
        assert not torch.allclose(found, method(net, x, ClassScore((predicted + 1) % 5)), atol=1e-2)


def test_a_map_of_logits_is_explained_by_its_area():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 3, 1), nn.Upsample(scale_factor=2))
    x = images()
    region = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    region[:, :20, 40:] = True
    found = LayerCAM(layer="1")(net, x, ClassArea([2] * 2, region=region))
    assert found[:, 22:].max() == 0 and found[:, :20, 40:].max() == 1


def test_own_layers_and_grids_and_wrong_ones():
    net, x = built("vit"), images()

    def flipped(t):
        return to_grid(net, t).flip(3)

    plain, mirrored = GradCAM()(net, x), GradCAM(grid=flipped)(net, x)
    torch.testing.assert_close(mirrored, plain.flip(2))
    with pytest.raises(ValueError, match=r"blocks.7.norm1.*blocks.1.norm1"):
        GradCAM(layer="blocks.7.norm1")(net, x)
    with pytest.raises(ValueError, match="no positions"):
        GradCAM(layer="head")(net, x)
