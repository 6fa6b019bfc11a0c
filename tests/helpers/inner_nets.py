"""Small nets for the tests of what is inside a net, and a check that they come back as they were."""

import timm
import torch

from fovea.explain.core.pixels import Pixels
from fovea.models.cnn import CNN
from fovea.models.mlp import MLP
from fovea.models.tiny import Tiny

PIXELS = Pixels(mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3])


def pictures(count=4, channels=3, size=16, seed=0):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def linear(num_classes=5, channels=3, size=16):
    torch.manual_seed(0)
    return MLP(num_classes=num_classes, in_channels=channels, image_size=size, hidden=()).eval()


def make(name):
    torch.manual_seed(0)
    if name == "vit":
        small = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2}
        return timm.create_model("vit_tiny_patch16_224", num_classes=5, **small)
    if name == "tiny":  # works in place
        return Tiny(num_classes=5, widths=(8, 12), depths=(1, 1))
    if name == "resnet":
        return timm.create_model("resnet10t", num_classes=5)
    return CNN(num_classes=5, widths=(8, 12), stage_depth=1)
