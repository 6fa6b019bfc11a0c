import pytest
import torch
from torchvision.models import squeezenet1_1

from fovea.models import squeezenet
from fovea.models.pixel_image import PixelImage
from helpers.net_protocol import assert_groups, from_config


def test_loads_a_file_in_torchvisions_layout(tmp_path):
    torch.manual_seed(0)
    reference = squeezenet1_1(num_classes=10).eval()
    torch.save(reference.state_dict(), tmp_path / "squeezenet1_1.pth")
    net = squeezenet.create(num_classes=10, checkpoint=str(tmp_path / "squeezenet1_1.pth")).eval()
    image = torch.rand(2, 3, 64, 64)
    assert torch.equal(net(image), reference(image))


def test_weights_out_of_reach_are_named(monkeypatch):
    def unreachable(name, url):
        raise FileNotFoundError(f"{name}: {url}")

    monkeypatch.setattr(squeezenet, "fetch", unreachable)
    with pytest.raises(FileNotFoundError, match=r"squeezenet1_1: https://\S+\.pth"):
        squeezenet.create(pretrained=True)


def test_an_image_can_be_learned_through_it():
    net = PixelImage(backbone=squeezenet.create, size=[32, 48], mean=[0.5] * 3, std=[0.2] * 3)
    found = net(net.render())
    assert set(found) == {"features.1", "features.3", "features.4", "features.6", "features.7"}
    sum(features.square().mean() for features in found.values()).backward()
    assert all(level.grad is not None for level in net.image)
    assert not any(p.requires_grad for p in net.backbone.parameters())


def test_it_trains_as_any_classifier_on_other_colours_and_classes():
    torch.manual_seed(0)
    net = squeezenet.create(num_classes=4, in_channels=1).eval()
    x = torch.randn(2, 1, 40, 33)
    assert net(x).shape == (2, 4) and net.forward_features(x).shape[:2] == (2, net.num_features)
    assert net.get_classifier().weight.shape[:2] == (4, net.num_features)
    assert net.forward_head(net.forward_features(x), pre_logits=True).shape == (2, net.num_features)
    assert_groups(net, stages=9, layers=9)


def test_published_weights_take_grey_images_and_another_head(tmp_path):
    reference = squeezenet1_1(num_classes=10).eval()
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    net = squeezenet.create(num_classes=4, in_channels=1, checkpoint=str(tmp_path / "w.pth")).eval()
    grey = torch.randn(2, 1, 48, 48)
    expected = reference.features(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(net.forward_features(grey), expected, atol=1e-4, rtol=1e-4)


def test_the_member_learns():
    torch.manual_seed(0)
    net, x, y = from_config("squeezenet", drop_rate=0.0), torch.randn(10, 1, 28, 28), torch.arange(10)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-4)
    losses = []
    for _ in range(80):
        losses.append(torch.nn.functional.cross_entropy(net(x), y))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
