"""A small backbone, two small pictures and a task that paints, for tests."""

from functools import partial

import lightning.pytorch as L
import numpy as np
import torch
from PIL import Image
from torch import nn

from fovea.data.datasets.content_style import ContentStyle
from fovea.data.module import DataModule
from fovea.models.pixel_image import PixelImage
from fovea.tasks.style_transfer.task import StyleTransfer

ADAM = partial(torch.optim.Adam, lr=0.02)
LBFGS = partial(torch.optim.LBFGS, lr=1.0, max_iter=3, history_size=5, line_search_fn="strong_wolfe")


class Small(nn.Module):
    """Three stages with batch norm and an activation in place, and a head."""

    feature_info = tuple({"module": f"stage{i}", "num_chs": 6, "reduction": 2**i} for i in range(3))

    def __init__(self):
        super().__init__()
        for i, (a, b) in enumerate(((3, 6), (6, 8), (8, 8))):
            conv = nn.Conv2d(a, b, 3, stride=1 + (i > 0), padding=1)
            self.add_module(f"stage{i}", nn.Sequential(conv, nn.BatchNorm2d(b), nn.ReLU(inplace=True)))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stage2(self.stage1(self.stage0(x)))
        return self.head(x.mean(dim=(2, 3)))


def backbone(*, pretrained=False, checkpoint=None):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return Small()


def pixel_image(size=(12, 16), **kwargs):
    kwargs = {"mean": [0.0] * 3, "std": [1.0] * 3, "levels": 3} | kwargs
    return PixelImage(backbone=kwargs.pop("backbone", backbone), size=size, **kwargs)


def pictures(folder):
    """Write a picture of blocks and one of stripes; return their paths."""
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 256, (3, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)  # 24 x 32
    stripes = np.tile(np.array([[[250, 80, 20]], [[10, 60, 200]]], dtype=np.uint8), (20, 30, 1))
    paths = [folder / "content.png", folder / "style.png"]
    for path, array in zip(paths, (blocks, stripes), strict=True):
        Image.fromarray(array).save(path)
    return [str(path) for path in paths]


def data(folder, *, steps=6, size=(12, 16)):
    content, style = pictures(folder)
    preprocessing = {"image_size": list(size), "channels": 3, "mean": [0.0] * 3, "std": [1.0] * 3}
    preprocessing |= {"interpolation": "bicubic", "crop_pct": 1.0}
    dataset = partial(ContentStyle, content=content, style=style, steps=steps)
    common = {"name": "content_style", "num_classes": 2, "batch_size": 1, "num_workers": 0}
    return DataModule(dataset=dataset, preprocessing=preprocessing, **common)


def task(net=None, *, optimizer=ADAM, seed=0, **kwargs):
    torch.manual_seed(seed)
    return StyleTransfer(net=net or pixel_image(), optimizer=optimizer, **kwargs)


def trainer(epochs=1, callbacks=(), **kwargs):
    return L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False,
        callbacks=list(callbacks), **kwargs,
    )  # fmt: skip
