from pathlib import Path

import pytest
import torch

from fovea.models import _hub as hub
from fovea.models.timm import create

MOBILENET = "mobilenetv2_100.tv_in1k"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Put weights of torchvision's net where its loader keeps them."""
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    net = mobilenet_v2().eval()
    (tmp_path / "checkpoints").mkdir()
    torch.save(net.state_dict(), tmp_path / "checkpoints" / "mobilenet_v2-b0353104.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return net


def test_weights_of_torchvision_give_the_same_logits(published):
    net = create(name=MOBILENET, num_classes=1000, pretrained=True).eval()
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(net(x), published(x))
    fewer = create(name=MOBILENET, num_classes=5, pretrained=True, in_channels=1)
    assert fewer.classifier.weight.shape == (5, 1280)
    torch.testing.assert_close(fewer.conv_stem.weight, published.features[0][0].weight.sum(1, keepdim=True))
    assert torch.equal(fewer.conv_head.weight, published.features[18][0].weight)


def test_a_file_of_torchvision_can_be_given_by_its_path(published):
    path = Path(torch.hub.get_dir()) / "checkpoints" / "mobilenet_v2-b0353104.pth"
    net = create(name="mobilenetv2_100", num_classes=1000, checkpoint=str(path))
    assert torch.equal(net.classifier.weight, published.classifier[1].weight)
    with pytest.raises(ValueError, match=r"missing: .*\n.*unexpected: classifier.1.bias"):
        create(name="mobilenetv3_small_050", num_classes=5, checkpoint=str(path))


def test_weights_of_torchvision_out_of_reach_name_the_remedies(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "_answers", lambda url, seconds: False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"mobilenet_v2-b0353104.*model.pretrained=false"):
        create(name=MOBILENET, num_classes=5, pretrained=True)
    assert create(name=MOBILENET, num_classes=5).num_classes == 5
    with pytest.raises(ValueError, match=r"weights of mobilenetv2_100 are .*mobilenetv2_100.tv_in1k"):
        create(name="mobilenetv2_100.none", num_classes=5)
