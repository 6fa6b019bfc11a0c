"""Before the first step a classifier of C classes has a loss of about ln C, whatever its options."""

import math

import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from fovea.config import build
from fovea.config.paths import CONF

pytestmark = pytest.mark.slow
CLASSES, SIDE = 10, 64
LINES = [
    "cnn", "cnn model.net.batch_norm=false",
    "convnet", "convnet model.net.batch_norm=false", "convnet model.net.batch_norm=false model.net.depth=2",
    "vgg11", "vgg11 model.net.batch_norm=false", "vgg11 model.net.batch_norm=false model.net.dropout=0",
    "vgg16_small", "vgg16_small model.net.batch_norm=false model.net.dense_norm=false",
    "alexnet", "zfnet", "lenet", "lenet model.net.modern=false",
    "mlp", "mlp model.net.hidden=[2048,2048]", "squeezenet",
    "resnet32", "resnet32 model.net.pre_activation=true", "resnet32 model.net.projection=true",
    "resnet47", "resnet47 model.net.pre_activation=false", "densenet_100_12", "wrn_16_8", "wrn_40_4",
    "tiny", "tiny model.net.separable=true",
    "vit", "vit model.net.conv_stem=false", "vit model.net.class_token=false",
    "timm model.pretrained=false", "vit_tiny_16 model.pretrained=false",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_first_loss(line):
    member, *options = line.split()
    with initialize_config_dir(str(CONF)):
        config = compose(f"model/{member}", [*options])
    OmegaConf.set_struct(config, False)
    config.data = {"num_classes": CLASSES, "channels": 3, "image_size": SIDE}
    torch.manual_seed(0)
    net = build.network(config)
    x = F.interpolate(torch.randn(16, 3, 8, 8), (SIDE, SIDE), mode="bicubic")
    with torch.no_grad():
        loss = F.cross_entropy(net(x), torch.arange(16) % CLASSES)
    assert float(loss) == pytest.approx(math.log(CLASSES), abs=1)
