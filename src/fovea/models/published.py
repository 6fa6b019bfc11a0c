"""Know weights that torchvision has published for an architecture of timm, and timm has not."""

from __future__ import annotations

import torch

from fovea.models.weights import State

# by timm's name with a tag, as timm tags torchvision's weights of other nets (resnet50.tv_in1k)
TORCHVISION = {
    "mobilenetv2_100.tv_in1k": "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
}


def rename_in_order(state: State, name: str) -> State:
    """Give tensors the names of timm's net `name`, which lists the same layers in the same order.

    A state of another length is returned as it is: comparing its names then says what does not fit.
    """
    import timm

    with torch.device("meta"):
        names = timm.create_model(name).state_dict().keys()
    return dict(zip(names, state.values(), strict=True)) if len(names) == len(state) else state
