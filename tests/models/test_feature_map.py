import pytest
import torch
import torch.nn.functional as F

from fovea.models.feature_map import FeatureMap
from fovea.models.timm import create

pytestmark = pytest.mark.slow

NETS = {
    "vgg11": (512, 32), "resnet10t": (512, 32), "mobilenetv3_small_050": (288, 32), "densenet121": (1024, 32),
    "swin_tiny_patch4_window7_224": (768, 32), "vit_tiny_patch16_224": (192, 16),
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
