import pytest
import torch
import torch.nn.functional as F

from fovea.models.feature_map import FeatureMap, as_map
from fovea.models.timm import create

pytestmark = pytest.mark.slow

NETS = {
    "vgg11": (512, 32), "resnet10t": (512, 32), "mobilenetv3_small_050": (288, 32), "densenet121": (1024, 32),
    "swin_tiny_patch4_window7_224": (768, 32), "vit_tiny_patch16_224": (192, 16),
    "levit_128s": (384, 64), "coat_lite_tiny": (320, 32), "xcit_nano_12_p16_224": (128, 16),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_a_feature_map_is_what_the_net_gives_and_every_parameter_takes_part(name):
    width, stride = NETS[name]
    net = FeatureMap(name=name, image_size=64)
    found = net(torch.randn(2, 3, 64, 64))
    assert found.shape == (2, width, 64 // stride, 64 // stride) and net.num_features == width
    found.square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []


def test_tokens_return_to_their_places():
    net = FeatureMap(name="vit_tiny_patch16_224", image_size=[32, 48]).eval()
    x = torch.randn(1, 3, 32, 48)
    tokens = net.net.forward_features(x)
    torch.testing.assert_close(net(x)[0, :, 1, 2], tokens[0, 1 + 5])


@pytest.mark.parametrize(
    "name",
    [
        "mixer_s32_224",
        "levit_128s",
        "coat_lite_tiny",
        "tnt_s_patch16_224",
        "volo_d1_224",
        "xcit_nano_12_p16_224",
    ],
)
def test_tokens_of_any_family_stand_where_timm_puts_them(name):
    net = create(name=name, num_classes=0, image_size=[96, 64]).eval()
    x = torch.randn(1, 3, 96, 64)
    wanted = net.forward_intermediates(x, indices=1, intermediates_only=True, norm=True)[0]
    assert wanted.shape[2] > wanted.shape[3]
    torch.testing.assert_close(as_map(net.forward_features(x), net, size=[96, 64]), wanted)


@pytest.mark.parametrize("name", ["coat_tiny", "pit_ti_224"])
def test_a_net_without_one_map_is_refused_with_others(name):
    with pytest.raises(ValueError, match=rf"model\.name={name} gives .*choose another net, such as resnet18"):
        FeatureMap(name=name, image_size=64)


def test_a_net_for_one_size_is_built_for_its_own():
    assert FeatureMap(name="swinv2_cr_tiny_224").num_features == 768
    assert FeatureMap(name="eva02_tiny_patch14_336")(torch.zeros(1, 3, 336, 336)).shape[2:] == (24, 24)


def test_skipped_modules_are_gone_and_unknown_ones_are_named():
    whole, cut = FeatureMap(name="vgg11"), FeatureMap(name="vgg11", skip=["features.20"])
    x = torch.randn(1, 3, 64, 64)
    assert whole(x).shape[-1] == 2 and cut(x).shape[-1] == 4
    cut.load_state_dict(whole.state_dict())
    torch.testing.assert_close(F.max_pool2d(cut(x), 2), whole(x))
    with pytest.raises(ValueError, match=r"vgg11 .*'features.99'"):
        FeatureMap(name="vgg11", skip=["features.99"])


def test_a_file_with_a_head_fills_a_net_without(tmp_path):
    saved = create(name="resnet10t", num_classes=7)
    torch.save(saved.state_dict(), tmp_path / "x.pt")
    net = FeatureMap(name="resnet10t", checkpoint=str(tmp_path / "x.pt"))
    assert torch.equal(net.net.layer4[0].conv1.weight, saved.layer4[0].conv1.weight)
