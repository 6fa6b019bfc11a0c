import pytest
import torch

from fovea.config import build, gate
from fovea.config.offline import without_weights
from fovea.engine import checkpoint
from fovea.models.colorizer import Colorizer, Embedder, FusionColorizer
from fovea.models.unet import UNet
from helpers.runs import composed


def picture(*size, seed=0):
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def fused():
    torch.manual_seed(0)
    return FusionColorizer(width=4, embedder="mobilenetv2_035", embedder_size=32)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (13, 21)])
def test_any_size_gives_colours_within_the_limit(fused, size):
    unet = Colorizer(net=UNet(num_classes=2, in_channels=1, width=4, depth=2, padding=True))
    for net in (fused, unet):
        ab = net.eval()(picture(*size))
        assert ab.shape == (2, 2, *size) and ab.abs().max() <= 128


def test_only_lightness_is_seen(fused):
    from fovea.ops.lab import grey, lightness

    x = picture(16, 16)
    light = grey(lightness(x))
    for same in (light, light.expand(-1, 3, -1, -1)):
        assert torch.allclose(fused.eval()(x), fused(same), atol=1e-2)


def test_the_embedding_matters_and_never_trains(fused):
    before = {k: v.clone() for k, v in fused.state_dict().items() if "embedder" in k}
    assert before and not any("embedder" in name for name, _ in fused.named_parameters())
    fused.train()
    assert not fused.net.embedder.net.training and fused.training
    fused(picture(16, 16)).sum().backward()
    assert all(torch.equal(v, fused.state_dict()[k]) for k, v in before.items())
    weight = fused.net.fusion[0].weight
    assert weight.shape[1] == 16 + fused.net.embedder.features and weight.grad[:, 16:].abs().max() > 0


def test_the_layers_are_those_of_the_paper():
    net = FusionColorizer().net
    convs = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convs] == [64, 128, 128, 256, 256, 512, 512, 256, 256, 128, 64, 64, 32, 2]
    assert [c.stride[0] for c in convs[:8]] == [2, 1, 2, 1, 2, 1, 1, 1]


def test_logits_are_not_squashed():
    net = FusionColorizer(channels=7, width=4, limit=None, batch_norm=True)
    with torch.no_grad():
        net.net.head.bias.fill_(1e3)
    assert net(picture(8, 8)).shape == (2, 7, 8, 8) and net(picture(8, 8)).max() > 500


def test_wrong_input_and_numbers_are_refused():
    with pytest.raises(ValueError, match="pictures"):
        FusionColorizer(width=4)(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match="limit=0"):
        FusionColorizer(width=4, limit=0)
    with pytest.raises(ValueError, match="width=1"):
        FusionColorizer(width=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet10t", "vit_tiny_patch16_224"])
def test_any_backbone_embeds(name):
    embedder = Embedder(name=name)
    assert embedder(torch.zeros(2, 1, 30, 50)).shape == (2, embedder.features)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["colorizer", "colorizer_fusion", "colorizer_unet"])
@pytest.mark.parametrize("task, channels", [("colorization", 2), ("colorization_bins", 313)])
def test_the_configs_fit_both_tasks_and_checkpoints_rebuild_them(model, task, channels):
    config = composed(model, f"task={task}", "model.pretrained=false").copy()
    from omegaconf import OmegaConf

    node = OmegaConf.create({"model": OmegaConf.to_container(config.model, resolve=True)})
    node.model.pretrained = node.model.net.pretrained = model == "colorizer_fusion"  # as it was trained
    offline = without_weights(node)
    if model != "colorizer_fusion":
        del offline.model.net.pretrained
    net = build.network(offline).eval()
    x = picture(24, 17)
    with torch.no_grad():
        found = net(x)
        assert found.shape == (2, channels, 24, 17)
    state = {f"net.{k}": v for k, v in net.state_dict().items()}
    about = {"fovea": {"config": OmegaConf.to_container(offline)}, "state_dict": state}
    gate.check(about["fovea"]["config"], source="x", whole=False)
    with torch.no_grad():
        assert torch.equal(checkpoint.rebuild(about)(x), found)
