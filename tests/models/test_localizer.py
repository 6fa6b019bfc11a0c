import pytest
import torch
from torch import nn

from fovea.models import timm
from fovea.models.convnet import ConvNet
from fovea.models.localizer import Localizer
from fovea.models.vgg import VGG
from fovea.optim.finetune import Finetune

BACKBONES = {
    "convnet": lambda: ConvNet(num_classes=3, widths=[8, 16], hidden=20),
    "vgg": lambda: VGG(num_classes=3, depths=[1, 1], widths=[8, 16], hidden=[20]),
    **{
        name: lambda name=name: timm.create(name=name, num_classes=3, image_size=64)
        for name in (
            "resnet10t",
            "vit_tiny_patch16_224",
            "swin_s3_tiny_224",
            "mobilenetv3_small_050",
            "xcit_nano_12_p16_224",
        )
    },
}


@pytest.mark.parametrize("name", BACKBONES)
def test_logits_and_a_box_within_the_image_come_from_shared_features(name):
    torch.manual_seed(0)
    backbone = BACKBONES[name]()
    net = Localizer(backbone=backbone, num_classes=3, image_size=64).eval()
    images = torch.randn(2, 3, 64, 64)
    output = net(images)
    assert output.shape == (2, 7)
    torch.testing.assert_close(output[:, :3], backbone.eval()(images))
    assert bool(((output[:, 3:] > 0) & (output[:, 3:] < 1)).all())
    net.zero_grad()
    output[:, 3:].sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in backbone.parameters())


@pytest.mark.parametrize("name", ["convnet", "resnet10t"])
def test_the_head_that_trains_while_the_backbone_is_frozen_is_both_heads(name):
    net = Localizer(backbone=BACKBONES[name](), num_classes=3, image_size=64)
    trainable = Finetune(unfreeze_epoch=None).trainable(net, 0)
    classifier = {f"net.{n}" for n, _ in net.net.named_parameters()} & trainable
    assert {n for n in trainable if n.startswith("box_head.")} == {
        n for n, _ in net.named_parameters() if n.startswith("box_head.")
    }
    assert classifier == {
        n for n, p in net.named_parameters() if any(p is q for q in net.net.get_classifier().parameters())
    }


def test_a_backbone_without_features_is_refused_by_its_key():
    with pytest.raises(ValueError, match=r"model\.net\.backbone.*forward_features"):
        Localizer(backbone=nn.Linear(3, 3), num_classes=3)


class Wide(nn.Module):
    """A classifier whose map is the image: as wide and as positive as that of a large net."""

    num_features = 1280

    def forward_features(self, x):
        return x

    def forward_head(self, features):
        return features.mean((2, 3))[:, :3]

    def get_classifier(self):
        return nn.Identity()


def test_the_head_of_a_wide_map_survives_the_first_steps():
    torch.manual_seed(0)
    images, boxes = torch.rand(8, 1280, 5, 5) * 2, torch.rand(8, 4)
    net = Localizer(backbone=Wide(), num_classes=3, in_channels=1280, image_size=5)
    steps = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for _ in range(60):
        loss = (net(images)[:, 3:] - boxes).square().mean()
        steps.zero_grad()
        loss.backward()
        steps.step()
    assert loss.item() < 0.5 * float(boxes.var(dim=0).mean())  # better than one box for all
