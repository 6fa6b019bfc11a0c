import pytest
import torch
from torchvision.models import squeezenet1_1

from fovea.models import squeezenet
from fovea.models.pixel_image import PixelImage


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
