"""Small nets of every kind that the explanations read, with random weights."""

from contextlib import contextmanager
from dataclasses import replace

import timm
import torch
from timm.models.densenet import DenseNet as TimmDenseNet
from timm.models.maxxvit import MaxxVit, model_cfgs
from timm.models.vgg import VGG as TimmVGG
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from fovea.models.cnn import CNN
from fovea.models.convnet import ConvNet
from fovea.models.tiny import Tiny
from fovea.models.vgg import VGG
from fovea.models.vit import ViT
from fovea.models.wide_resnet import WideResNet

SIDE, CLASSES = 64, 5


def make(name, **options):
    return timm.create_model(name, num_classes=CLASSES, **options)


def maxvit():
    config = model_cfgs["maxvit_pico_rw"]
    config = replace(config, embed_dim=(32, 32, 64, 64), depths=(1, 1, 1, 1), stem_width=8)
    return MaxxVit(config, img_size=SIDE, num_classes=CLASSES)


CNNS = {
    "resnet": lambda: make("resnet14t"),
    "vgg": lambda: TimmVGG([8, "M", 16, "M", 16, 16, "M"], num_classes=CLASSES),
    "our_vgg": lambda: VGG(num_classes=CLASSES, depths=(1, 2), widths=(8, 16), hidden=[16], batch_norm=True),
    "efficientnet": lambda: make("efficientnet_b0"),
    "mobilenetv2": lambda: make("mobilenetv2_035"),
    "densenet": lambda: TimmDenseNet(growth_rate=8, block_config=(2, 2, 2), num_classes=CLASSES),
    "our_cnn": lambda: CNN(num_classes=CLASSES, widths=(8, 16, 16)),
    "our_tiny": lambda: Tiny(num_classes=CLASSES, widths=(8, 16, 16)),
    "our_convnet": lambda: ConvNet(num_classes=CLASSES, widths=(8, 8, 16), hidden=16),
    "our_wide_resnet": lambda: WideResNet(num_classes=CLASSES, depth=10, width=1),
}
TRANSFORMERS = {
    "our_vit": lambda: ViT(num_classes=CLASSES, image_size=SIDE, patch_size=8, dim=32, depth=2),
    "vit": lambda: VisionTransformer(
        img_size=SIDE, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=CLASSES, reg_tokens=2
    ),
    "deit": lambda: make(
        "deit_tiny_distilled_patch16_224", img_size=SIDE, patch_size=8, embed_dim=32, depth=2, num_heads=2
    ),
    "swin": lambda: make(
        "swin_tiny_patch4_window7_224",
        img_size=SIDE,
        window_size=4,
        embed_dim=16,
        depths=(1, 2),
        num_heads=(2, 2),
    ),
    "maxvit": maxvit,
}
NETS = CNNS | TRANSFORMERS
KINDS = (  # one each: residual, chain, ReLU6, dense, changed in place, two prefix tokens, windows, both
    "resnet", "our_vgg", "mobilenetv2", "densenet", "our_tiny", "deit", "swin", "maxvit",
)  # fmt: skip


def built(name, *, seed=0):
    """Build a net whose parts all take part: weights, biases and running statistics are drawn."""
    torch.manual_seed(seed)
    net = NETS[name]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    return net.eval()


def images(count=2, *, side=SIDE, channels=3, seed=1):
    """Draw smooth pictures."""
    drawn = torch.randn(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(drawn, (side, side), mode="bicubic")


def state_of(net):
    """Return all that an explanation must leave as it is."""
    return (
        {k: v.clone() for k, v in net.state_dict().items()},
        [m.training for m in net.modules()],
        [(p.requires_grad, p.grad is None) for p in net.parameters()],
        [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in net.modules()],
    )


def assert_unchanged(net, before):
    now = state_of(net)
    assert now[1:] == before[1:]
    assert all(torch.equal(v, before[0][k]) for k, v in now[0].items())


@contextmanager
def untouched(net):
    """Fail where the block changes weights, buffers, modes, gradients, requires_grad or hooks of a net."""
    before = state_of(net)
    yield
    assert_unchanged(net, before)
