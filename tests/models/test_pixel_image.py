from functools import partial

import pytest
import torch

from fovea.models._tapped import Tapped, depths
from fovea.models.timm import create
from helpers import painted


def test_the_image_is_the_sum_of_its_levels_and_can_be_anything():
    net = painted.pixel_image(size=(13, 17))
    assert [tuple(p.shape[1:]) for p in net.image] == [(13, 17), (7, 9), (4, 5)]
    wanted = torch.rand(1, 3, 13, 17)
    net.put(wanted)
    torch.testing.assert_close(net.render(), wanted)
    with torch.no_grad():
        net.image[2] += 0.25
    torch.testing.assert_close(net.render(), wanted + 0.25)


def test_noise_is_grey_in_the_mean_and_given_by_the_seed():
    torch.manual_seed(0)
    image = painted.pixel_image(size=(64, 64)).render().detach()
    assert abs(float(image.mean()) - 0.5) < 0.05 and image.min() >= 0 and image.max() <= 1


def test_clipping_keeps_what_can_be_shown():
    net = painted.pixel_image(mean=[0.5] * 3, std=[0.25] * 3)  # black is -2, white 2
    wanted = torch.linspace(-4, 4, 576).view(1, 3, 12, 16)
    net.put(wanted)
    net.clip()
    torch.testing.assert_close(net.render(), wanted.clamp(-2, 2))
    shown = net.shown(net.render())
    assert shown.dtype == torch.uint8 and shown.shape == (12, 16, 3)
    assert shown.min() == 0 and shown.max() == 255


def test_layers_are_chosen_at_several_depths_without_the_deepest():
    net = painted.pixel_image()
    assert net.content_layers == ["stage1"] and net.style_layers == ["stage0", "stage1"]
    assert set(net(net.render())) == {"stage0", "stage1"}


def test_what_lies_above_the_layers_is_dropped_and_the_features_stay():
    whole = painted.backbone().eval()
    image = torch.rand(2, 3, 12, 16)
    expected = whole.stage1(whole.stage0(image)).flatten(2)
    tapped = Tapped(net=painted.backbone(), layers=["stage1"], size=(12, 16))
    assert {n.split(".")[1] for n, _ in tapped.named_parameters()} == {"stage0", "stage1"}
    torch.testing.assert_close(tapped(image)["stage1"], expected)


def test_an_activation_in_place_does_not_change_what_is_seen():
    tapped = Tapped(net=painted.backbone(), layers=["stage0.1", "stage0.2"], size=(12, 16))
    seen = tapped(torch.rand(1, 3, 12, 16))
    assert seen["stage0.1"].min() < 0
    assert torch.equal(seen["stage0.1"].relu(), seen["stage0.2"])


def test_the_backbone_never_trains():
    tapped = Tapped(net=painted.backbone(), layers=["stage1"], size=(12, 16)).train()
    before = tapped(torch.rand(4, 3, 12, 16)), {k: v.clone() for k, v in tapped.state_dict().items()}
    assert not any(m.training for m in tapped.modules())
    assert not any(p.requires_grad for p in tapped.parameters())
    assert all(torch.equal(v, before[1][k]) for k, v in tapped.state_dict().items())


def test_an_unknown_layer_names_the_nearest():
    with pytest.raises(ValueError, match=r"no layer 'stage9'; near it are .*stage"):
        painted.pixel_image(style_layers=["stage9"])


def test_a_layer_without_a_map_is_refused():
    for layer in ("head", ""):
        with pytest.raises(ValueError, match=rf"'{layer}' gives shape .*name another"):
            painted.pixel_image(content_layers=[layer])


def test_a_net_that_lists_no_layers_asks_for_names():
    with pytest.raises(ValueError, match=r"model.net.content_layers=\[…\]"):
        depths(torch.nn.Linear(2, 2))


def test_no_levels_are_refused():
    with pytest.raises(ValueError, match=r"model.net.levels=0 .*at least 1"):
        painted.pixel_image(levels=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["resnet18", "vgg11", "mobilenetv2_100", "densenet121", "convnext_atto",
     "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"],
)  # fmt: skip
def test_layers_of_timm_s_nets_are_found_and_unchanged_by_dropping_the_rest(name):
    size = (64, 64) if name.startswith(("vit", "swin")) else (48, 64)

    def backbone(pretrained, checkpoint):
        torch.manual_seed(0)
        return create(name=name, num_classes=0, image_size=size)

    net = painted.pixel_image(size=size, backbone=backbone)
    assert net.content_layers[0] in net.style_layers and len(net.style_layers) >= 3
    whole = backbone(False, None).eval()
    seen = {}
    for path in net.style_layers:
        note = partial(lambda path, m, i, o: seen.__setitem__(path, o.clone()), path)
        whole.get_submodule(path).register_forward_hook(note)
    image = net.render()
    with torch.no_grad():
        found = net(image)
        whole(net.adapt(image))
    for path, features in found.items():
        torch.testing.assert_close(features.sum(), seen[path].sum(), rtol=1e-4, atol=1e-3)
        assert features.shape[1] in seen[path].shape[1:] and features.shape[1] <= 1024
    left = sum(p.numel() for p in net.backbone.parameters())
    assert left < 0.95 * sum(p.numel() for p in whole.parameters())
