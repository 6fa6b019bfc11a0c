from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fovea.models.timm import create
from fovea.models.upsampled import Upsampled
from fovea.optim.finetune import Finetune


def upsampled(name="resnet10t", **kw):
    torch.manual_seed(0)
    options = {"num_classes": 4, "in_channels": 1, "mean": [0.3], "std": [0.35], "size": 64}
    return Upsampled(backbone=partial(create, name=name), **{**options, **kw}).eval()


def test_it_is_the_backbone_on_enlarged_images_in_its_own_normalisation():
    net = upsampled()
    pixels = torch.rand(2, 1, 28, 28)
    large = F.interpolate(pixels, (64, 64), mode="bilinear", align_corners=False).expand(-1, 3, -1, -1)
    cfg = net.net.pretrained_cfg
    mean, std = (torch.tensor(cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    x = (pixels - 0.3) / 0.35
    torch.testing.assert_close(net(x), net.net((large - mean) / std), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.forward_head(net.forward_features(x)), net(x))
    assert net.forward_head(net.forward_features(x), pre_logits=True).shape == (2, net.num_features)


def test_images_of_the_right_size_pass_unchanged_and_larger_ones_shrink():
    net = upsampled(in_channels=3, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(net(x), net.net(x))
    assert net(torch.randn(2, 3, 100, 80)).shape == (2, 4)


def test_data_without_colour_statistics_are_refused():
    with pytest.raises(ValueError, match=r"in_channels=3 .*mean=\[0.3\]"):
        upsampled(in_channels=3)


def test_fine_tuning_sees_the_stages_of_the_backbone():
    net, bare = upsampled(), create(name="resnet10t", num_classes=4)
    for plan in (Finetune(unfreeze_epoch=3), Finetune(unfreeze_epoch=1, stage_epochs=1)):
        for epoch in range(7):
            inner = {f"net.{n}" for n in plan.trainable(bare, epoch)}
            assert plan.trainable(net, epoch) == inner
    frozen = Finetune(unfreeze_epoch=3).frozen_modules(net, 0)
    assert all(any(m is f for f in frozen) for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    decay, scales = Finetune(layer_decay=0.5), net.named_parameters()
    expected = decay.lr_scales(bare)
    assert {n: decay.lr_scales(net)[n][1] for n, _ in scales} == {
        f"net.{n}": scale for n, (_, scale) in expected.items()
    }


def test_a_backbone_of_one_size_is_built_for_the_enlarged_images():
    torch.manual_seed(0)
    backbone = partial(create, name="vit_tiny_patch16_224", image_size=32)
    net = Upsampled(backbone=backbone, num_classes=4, mean=[0.5] * 3, std=[0.5] * 3, size=32).eval()
    assert net(torch.randn(2, 3, 20, 20)).shape == (2, 4)


def test_the_state_holds_the_backbone_alone():
    net = upsampled()
    assert {k.removeprefix("net.") for k in net.state_dict()} == set(net.net.state_dict())
