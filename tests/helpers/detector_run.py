"""Run directories of detectors with random weights."""

import torch
from omegaconf import OmegaConf

from fovea.config import build
from helpers import runs


def write_run(folder, experiment, *given, labelling=None):
    """Write the run of an experiment, on a small backbone and small images; return its directory."""
    small = ["model.name=mobilenetv3_small_050", "model.pretrained=false", "data.image_size=64"]
    config = OmegaConf.create(
        OmegaConf.to_container(runs.compose([f"experiment={experiment}", "trainer=cpu", *small, *given]))
    )
    torch.manual_seed(0)
    net = build.network(config)
    for layer in net.get_classifier().modules():  # so that something is found
        if getattr(layer, "bias", None) is not None:
            torch.nn.init.normal_(layer.bias, -1.0, 1.0)
    classes = build.make(config.data.dataset).func.find_classes(annotation="boxes")
    about = {
        "version": 1, "config": OmegaConf.to_container(config, resolve=True), "classes": list(classes),
        "preprocessing": build.preprocessing(config, net), **(labelling or {}),
    }  # fmt: skip
    state = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": state, "fovea": about}, folder / "checkpoints" / "best.ckpt")
    return folder
