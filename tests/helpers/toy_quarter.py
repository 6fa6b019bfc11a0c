"""A model whose net looks at the upper left quarter, and methods that do and do not."""

import torch
from torch import nn

from fovea.explain.core.class_choice import LogitSelector
from fovea.explain.core.model import ExplainedModel, ImageBatch
from fovea.explain.core.pixels import Pixels

SIDE, COUNT = 16, 5


class Quarter(nn.Module):
    """Tell a bright upper left quarter from a dark one, by a convolution that can be drawn anew."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[3.0] * 3, [-3.0] * 3])[:, :, None, None])
            self.conv.bias.zero_()

    def forward(self, x):
        return self.conv(x)[:, :, : SIDE // 2, : SIDE // 2].mean((2, 3))


def right(net, image, target=None):
    maps = torch.zeros(len(image), *image.shape[2:])
    maps[:, : SIDE // 2, : SIDE // 2] = 1
    return maps


def wrong(net, image, target=None):
    maps = 1 - right(net, image)
    maps[:, -1, -1] = 2  # the peak, far from the quarter
    return maps


def refused(net, image, target=None):
    raise ValueError("Quarter has no attention: use another")


def model(methods, *, target="true", boxes=True, masks=True, known=True):
    image = torch.randn(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.1
    image[:, :, : SIDE // 2, : SIDE // 2] += 2

    def load(rows):
        rows = list(rows)
        n = len(rows)
        mask = torch.zeros(n, SIDE, SIDE, dtype=torch.long)
        mask[:, : SIDE // 2, : SIDE // 2] = 1
        return ImageBatch(
            image=image[rows],
            rows=rows,
            label=torch.tensor([0 if known and row != 3 else -1 for row in rows]),
            boxes=[torch.tensor([[0.0, 0.0, 8.0, 8.0], [8.0, 8.0, 16.0, 16.0]])] * n if boxes else None,
            box_labels=[torch.tensor([0, 1])] * n if boxes else None,
            mask=mask if masks else None,
        )

    return ExplainedModel(
        name="toy", net=Quarter().eval(), device=torch.device("cpu"), classes=["bright", "dark"],
        pixels=Pixels(mean=[0.5] * 3, std=[0.25] * 3), size=(SIDE, SIDE),
        ids=[f"image {i}" for i in range(COUNT)], load=load,
        selector=LogitSelector(classes=["bright", "dark"], target=target), methods=methods, batch_size=2,
    )  # fmt: skip
