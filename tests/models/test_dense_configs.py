"""Every model config of a net whose output is an image composes, and gives logits at any size."""

import pytest
import torch
from omegaconf import OmegaConf

from fovea.config import build, gate
from fovea.config.offline import without_weights
from fovea.engine import checkpoint
from helpers.runs import composed

pytestmark = pytest.mark.slow

SMALL = ["unet_small", "smp_unet", "smp_unetpp", "smp_fpn", "smp_deeplabv3plus", "smp_segformer"]
LARGE = ["unet", "fcn32", "fcn16", "fcn8"]


@pytest.mark.parametrize("model", SMALL + LARGE)
def test_it_gives_logits_of_the_size_of_the_image(model):
    with torch.device("meta" if model in LARGE else "cpu"):
        config = composed(model, "model.pretrained=false")
        net = build.network(config).eval()
        assert config.model.name == model and net.num_classes == 10
        with torch.no_grad():
            for height, width in ((1, 1), (37, 53)):
                assert net(torch.empty(2, 3, height, width)).shape == (2, 10, height, width)


@pytest.mark.parametrize("model", ["unet_small", "smp_segformer"])
def test_a_checkpoint_rebuilds_it(model):
    config = OmegaConf.create({"model": OmegaConf.to_container(composed(model).model, resolve=True)})
    net = build.network(without_weights(config)).eval()
    state = {f"net.{k}": v for k, v in net.state_dict().items()}
    gate.check(OmegaConf.to_container(config), source="x", whole=False)
    again = checkpoint.rebuild({"fovea": {"config": OmegaConf.to_container(config)}, "state_dict": state})
    x = torch.randn(1, 3, 20, 20)
    with torch.no_grad():
        assert torch.equal(net(x), again(x))


def test_any_net_of_timm_is_the_backbone_of_an_fcn():
    config = composed("fcn16", "model.net.backbone._target_=fovea.models.strided_maps.StridedMaps",
                      "+model.net.backbone.name=mobilenetv2_100.tv_in1k")  # fmt: skip
    net = build.network(config).eval()
    assert net(torch.randn(1, 3, 37, 53)).shape == (1, 10, 37, 53) and net.stride == 16
