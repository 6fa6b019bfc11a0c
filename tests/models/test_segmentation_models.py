from functools import partial
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from timm.models import group_parameters

from fovea.models.segmentation_models import EncoderDecoder
from fovea.models.timm import create
from fovea.optim.finetune import Finetune
from fovea.optim.finetune_parts import head_parameters

pytestmark = pytest.mark.slow

ARCHS = [smp.Unet, smp.UnetPlusPlus, smp.FPN, smp.DeepLabV3Plus, smp.Segformer]
MOBILENET = Path(torch.hub.get_dir()) / "checkpoints" / "mobilenet_v2-b0353104.pth"
LITE0 = Path("data/weights/tf_efficientnet_lite0.pth")


def built(arch=smp.Unet, encoder="resnet10t", **options):
    torch.manual_seed(0)
    return EncoderDecoder(**{"arch": arch, "encoder": encoder, "num_classes": 3, **options}).eval()


@pytest.mark.parametrize("arch", ARCHS)
def test_any_size_in_is_the_size_out(arch):
    net = built(arch, in_channels=1, num_classes=1)
    with torch.no_grad():
        for height, width in ((1, 1), (37, 53)):
            assert net(torch.randn(2, 1, height, width)).shape == (2, 1, height, width)
        x = torch.randn(1, 1, 32, 64)
        assert torch.equal(net(x), net.model(x))


@pytest.mark.parametrize("arch", ARCHS)
def test_every_parameter_takes_part_and_the_head_is_what_is_new(arch):
    net = built(arch).train()
    net(torch.randn(2, 3, 40, 64)).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []
    head = head_parameters(net)
    assert {n.split(".")[1] for n in head} == {"decoder", "segmentation_head"}
    ids = group_parameters(net, net.group_matcher(coarse=True), reverse=True)
    assert {n for n in ids if ids[n] == max(ids.values())} == head
    plan = Finetune(unfreeze_epoch=1, stage_epochs=1, layer_decay=0.8)
    sizes = [len(plan.trainable(net, epoch)) for epoch in range(7)]
    assert sizes[0] == len(head) and sizes == sorted(sizes) and sizes[-1] == len(list(net.parameters()))
    scales = plan.lr_scales(net)
    assert (
        scales["model.segmentation_head.0.weight"][1] == 1 > scales["model.encoder.model.conv1.0.weight"][1]
    )


def assert_equal_encoder(net, whole):
    own, theirs = net.model.encoder.model.state_dict(), whole.state_dict()
    assert len(own) > 100 and all(torch.equal(v, theirs[k]) for k, v in own.items())


@pytest.mark.skipif(not MOBILENET.is_file(), reason="make assets fetches these weights")
@pytest.mark.parametrize("arch", [smp.Unet, smp.DeepLabV3Plus])
def test_published_weights_reach_the_encoder_bit_by_bit(arch, monkeypatch):
    name = "mobilenetv2_100.tv_in1k"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    net = built(arch, name, pretrained=True)
    assert_equal_encoder(net, create(name=name, num_classes=0, pretrained=True))
    grey = built(arch, name, pretrained=True, in_channels=1)
    assert_equal_encoder(grey, create(name=name, num_classes=0, pretrained=True, in_channels=1))
    assert tuple(net.pretrained_cfg["mean"]) == (0.485, 0.456, 0.406)


@pytest.mark.skipif(not LITE0.is_file(), reason="make assets fetches these weights")
def test_a_file_of_the_encoders_net_is_enough():
    net = built(encoder="tf_efficientnet_lite0", checkpoint=str(LITE0))
    assert_equal_encoder(net, create(name="tf_efficientnet_lite0", num_classes=0, checkpoint=str(LITE0)))


def test_a_file_of_the_whole_net_loads_for_other_classes_too(tmp_path):
    saved = built()
    torch.save({"state_dict": {f"net.{k}": v for k, v in saved.state_dict().items()}}, tmp_path / "x.ckpt")
    same = built(checkpoint=str(tmp_path / "x.ckpt"), pretrained=True)  # nothing is asked for
    assert all(torch.equal(v, saved.state_dict()[k]) for k, v in same.state_dict().items())
    other = built(checkpoint=str(tmp_path / "x.ckpt"), num_classes=7)
    assert torch.equal(
        other.model.decoder.blocks[0].conv1[0].weight, saved.model.decoder.blocks[0].conv1[0].weight
    )
    assert len(other.model.segmentation_head[0].weight) == 7


@pytest.mark.parametrize("begin", ["", "model.", "module.net.model."])
def test_names_with_another_beginning_load_wholly_the_decoder_too(begin, tmp_path):
    saved = built()
    state = {f"{begin}{k}": v for k, v in saved.model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "x.ckpt")
    net = built(checkpoint=str(tmp_path / "x.ckpt"))
    assert all(torch.equal(v, saved.state_dict()[k]) for k, v in net.state_dict().items())


def test_weights_with_the_librarys_own_encoder_give_the_same_logits(tmp_path):
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=3).eval()
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    net = built(encoder="resnet18", checkpoint=str(tmp_path / "x.pth")).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), theirs(x))


def test_encoders_of_one_size_are_built_for_it():
    net = built(encoder="swin_tiny_patch4_window7_224", image_size=[60, 33])
    assert net(torch.randn(1, 3, 60, 33)).shape == (1, 3, 60, 33)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"encoder=vit_tiny_patch16_224: .*such as resnet34"):
        built(encoder="vit_tiny_patch16_224")
    with pytest.raises(ValueError, match=r"model.name='resnet_19' .*near it are"):
        built(encoder="resnet_19")
    with pytest.raises(ValueError, match=r"net takes .*\(B, 3, H, W\).*got \(1, 1, 8, 8\)"):
        built()(torch.randn(1, 1, 8, 8))
    narrow = built(partial(smp.Unet, decoder_channels=[8, 8, 8, 8, 4]))
    assert narrow.model.segmentation_head[0].in_channels == 4
