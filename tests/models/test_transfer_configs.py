"""Every model config of a pretrained architecture composes and gives the protocol of fine-tuning."""

import pytest
import torch
from omegaconf import OmegaConf

from fovea.config import build
from fovea.config.offline import without_weights
from fovea.engine import checkpoint
from fovea.models import timm
from fovea.optim.finetune import Finetune
from helpers.runs import composed

pytestmark = pytest.mark.slow

SIDE = {"maxvit_tiny": 64, "bilinear": 64, "bilinear_shared": 64}
MODELS = ["upsampled", "bilinear", "bilinear_shared", "resnet50", "efficientnet_b0", "vit_tiny_16"]
MODELS += ["vit_small", "vit_base", "deit_small", "swin_tiny", "maxvit_tiny"]


@pytest.mark.parametrize("model", MODELS)
def test_it_builds_without_weights_and_finds_its_head(model):
    size = [] if model == "upsampled" else [f"data.image_size={SIDE.get(model, 32)}"]
    with torch.device("meta"):
        net = build.network(composed(model, "model.pretrained=false", *size))
    assert net.num_classes == 10
    plan = Finetune(unfreeze_epoch=1, stage_epochs=1)
    head = plan.trainable(net, 0)
    assert {n for n, p in net.named_parameters() if n in head and p.ndim == 2 and len(p) == 10}
    assert len(head) == 2 < len(plan.trainable(net, 1)) < len(list(net.parameters()))


@pytest.mark.parametrize("model", ["upsampled", "bilinear_shared", "resnet50"])
def test_a_checkpoint_rebuilds_it_without_looking_for_weights(model, monkeypatch):
    def looked(*args, **kwargs):
        raise LookupError("weights")

    for name in ("fetch", "fetching", "load_weights"):
        monkeypatch.setattr(timm, name, looked)
    overrides = ["data.image_size=32", "model.checkpoint=/nowhere.pt"]
    overrides += ["model.net.first.name=resnet10t", "model.net.first.skip=[]"] * (model == "bilinear_shared")
    model_node = OmegaConf.to_container(composed(model, *overrides).model, resolve=True)
    assert model_node["pretrained"] is True
    config = OmegaConf.create({"model": model_node})
    with pytest.raises(LookupError, match="weights"):
        build.network(config)
    offline = without_weights(config)
    net = build.network(offline)
    rebuilt = checkpoint.rebuild(
        {
            "fovea": {"config": OmegaConf.to_container(config)},
            "state_dict": {f"net.{k}": v for k, v in net.state_dict().items()},
        }
    )
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(rebuilt(x), net.eval()(x))
