"""Open a net by its name, with published weights or those of a file, without a run of this suite."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from fovea import errors
from fovea.config import build
from fovea.config.groups import composing
from fovea.config.paths import CONF
from fovea.engine.start_weights import classes_of
from fovea.engine.trained import Trained
from fovea.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from fovea.types import Preprocessing

log = logging.getLogger(__name__)
TIMM = "fovea.models.timm.create"
RESIZE = {"center": "crop", "squash": "stretch", "border": "pad"}  # timm's crop_mode


@dataclass(frozen=True, kw_only=True)
class NamedNet:
    """A network with what it needs to be used; `source` says for people where its weights come from."""

    net: nn.Module
    classes: list[str]
    preprocessing: Preprocessing
    source: str


def open_named(name: str, config: DictConfig) -> NamedNet:
    """Build the net `name` of the config's `model`, for the classes and images of its `data`.

    Of `data` null means what the weights say: the number of classes, timm's own size and statistics.
    """
    try:
        config = _filled(name, config)
        net = build.network(config).eval()
        _require_classifier(name, net, config)
    except Exception as error:
        if isinstance(errors.root_cause(error), ValueError | FileNotFoundError):
            raise UsageError(errors.explain(error)) from error
        raise
    weights = config.model.get("checkpoint")
    if weights is not None:
        _require_head(net, str(weights), int(config.data.num_classes))
    if not config.model.pretrained and weights is None:
        log.warning("%s: the weights are random, so it shows the architecture alone", name)
    source = "random weights"
    if weights is not None or config.model.pretrained:
        source = str(weights or "published weights")
    own: Any = _of_timm(config, net) if _is_timm(config) else build.preprocessing(config, net)
    return NamedNet(net=net, classes=_classes(config), preprocessing=own, source=source)


def as_classifier(name: str, config: DictConfig) -> Trained:
    """Open the net `name` as a run of a classification is opened; it has no data."""
    found = open_named(name, config)
    run = OmegaConf.create(
        {
            "experiment": name,
            "task": {"tta": None},
            "data": {"batch_size": 16},
            "report": OmegaConf.load(CONF / "report" / "classification.yaml"),
        }
    )
    about = {"classes": found.classes, "preprocessing": found.preprocessing}
    return Trained(Path(found.source), {"fovea": about}, run, found.net)


def on_folder(found: Trained, root: Path) -> Trained:
    """Give an opened classifier a folder of images to be measured on, one folder for each of its classes."""
    with composing():
        run = compose("train", ["data=folder", "task=classification"])
    OmegaConf.set_struct(run, False)
    run.experiment, run.data.root = found.config.experiment, str(root)
    run.data.num_classes, run.data.channels = len(found.classes), found.preprocessing["channels"]
    run.report = found.config.report
    # no image there trained it, as far as anybody knows: all of them are measured
    about = {**found.checkpoint["fovea"], "splits": dict.fromkeys(("train", "val", "test"), "")}
    return Trained(found.path, {"fovea": about}, run, found.net)


def _is_timm(config: DictConfig) -> bool:
    return str(config.model.net.get("_target_")) == TIMM


def _filled(name: str, config: DictConfig) -> DictConfig:
    """Return the config of one model, with the number of classes and its weights settled."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    config.model.name, data = name, config.data
    if (weights := config.model.get("checkpoint")) is not None:
        _require_foreign(str(weights))
    if data.classes is not None:
        _count_given(data)
    if _is_timm(config):
        _count_classes(name, config)
        local = Path(str(config.paths.data)) / "weights" / f"{name}.pth"
        if config.model.pretrained and config.model.checkpoint is None and local.is_file():
            log.info("%s: weights from %s", name, local)
            config.model.checkpoint = str(local)
        return config
    if missing := [f"data.{key}=" for key in ("num_classes", "image_size") if data[key] is None]:
        raise UsageError(f"model.name={name} does not determine its data: give {' and '.join(missing)}")
    usual: Any = OmegaConf.load(CONF / "data_defaults.yaml")
    for key in ("interpolation", "crop_pct", "resize"):
        data[key] = usual[key] if data[key] is None else data[key]
    for key in ("mean", "std"):
        data[key] = _per_channel(usual[key] if data[key] is None else data[key], int(data.channels))
    return config


def _require_foreign(weights: str) -> None:
    """Refuse a run's checkpoint, whose class names and preprocessing would be passed over."""
    if classes_of(weights) is not None:
        raise UsageError(
            f"model.checkpoint={weights} is of a run: instead of model= give run={weights}, which brings its "
            "classes and preprocessing"
        )


def _require_classifier(name: str, net: nn.Module, config: DictConfig) -> None:
    """Refuse a net that does not give a number for each class of an image."""
    import torch

    if _is_timm(config):
        return
    size = config.data.image_size
    height, width = (size, size) if isinstance(size, int) else size
    with torch.inference_mode():
        output = net(torch.zeros(1, int(config.data.channels), int(height), int(width)))
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        raise ValueError(
            f"model.name={name} does not classify images, and model= takes nets that give a number for each "
            "class: train it, and give its run by run=DIR"
        )


def _require_head(net: nn.Module, weights: str, classes: int) -> None:
    """Refuse weights of which the head was left out, as it is for another number of classes."""
    from fovea.models.weights_file import saved_classes
    from fovea.optim.finetune_parts import classifier_names

    held = saved_classes(weights, classifier_names(net))
    if held and classes not in held:
        raise UsageError(
            f"{weights} tells {held.pop()} classes apart, not {classes}: set data.num_classes= or "
            "data.classes=[…]"
        )


def _count_given(data: DictConfig) -> None:
    names = [str(name) for name in data.classes]
    if len(set(names)) < len(names) or not names:
        raise UsageError(f"data.classes={names}: give each class once, in the order of the net's outputs")
    if data.num_classes not in (None, len(names)):
        raise UsageError(f"data.num_classes={data.num_classes}, but data.classes has {len(names)} names")
    data.num_classes = len(names)


def _count_classes(name: str, config: DictConfig) -> None:
    """Settle the number of classes: that of the weights in a file, whose head would else be left out."""
    from fovea.models.timm import count_classes

    data, weights = config.data, config.model.checkpoint
    if weights is None:
        data.num_classes = _count_of(name) if data.num_classes is None else data.num_classes
        return
    held = count_classes(name, str(weights))
    if held is None and data.num_classes is None:
        raise UsageError(f"{weights} does not say for how many classes it is: give data.classes=[…]")
    if held is not None and data.num_classes not in (None, held):
        raise UsageError(
            f"{weights} tells {held} classes apart, not {data.num_classes}: set data.classes=[…]"
        )
    data.num_classes = held if held is not None else data.num_classes


def _per_channel(values: Any, channels: int) -> list[float]:
    """Return as many values as channels; one for grey is the average over the colours."""
    numbers = [float(value) for value in values]
    return numbers if len(numbers) == channels else [sum(numbers) / len(numbers)] * channels


def _count_of(name: str) -> int:
    """Return the number of classes that timm's weights of this name distinguish."""
    import timm

    base = name.partition(".")[0]
    known = [n for n in (name, base) if timm.is_model(base) and timm.models.is_model_pretrained(n)]
    found = timm.get_pretrained_cfg(known[0]) if known else None
    return 1000 if found is None else int(found.num_classes)


def _of_timm(config: DictConfig, net: Any) -> dict[str, Any]:
    """Return the preprocessing of a timm net: what the config leaves open is timm's own."""
    from timm.data import resolve_model_data_config

    own, data, channels = resolve_model_data_config(net), config.data, int(config.data.channels)
    size = data.image_size if data.image_size is not None else own["input_size"][1:]
    found: dict[str, Any] = {
        "image_size": [int(size)] * 2 if isinstance(size, int) else [int(s) for s in size],
        "channels": channels,
    }
    for key in ("mean", "std"):
        found[key] = _per_channel(own[key] if data[key] is None else data[key], channels)
    mode = RESIZE.get(own.get("crop_mode", "center"), "crop")
    for key, usual in (
        ("interpolation", own["interpolation"]),
        ("crop_pct", own["crop_pct"]),
        ("resize", mode),
    ):
        found[key] = usual if data[key] is None else data[key]
    return found


def _classes(config: DictConfig) -> list[str]:
    """Name the classes as asked, else as ImageNet does where there are as many, else number them."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    if config.data.classes is not None:
        return [str(name) for name in config.data.classes]
    count = int(config.data.num_classes)
    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None or not _is_timm(config):
        return [str(i) for i in range(count)]
    info = ImageNetInfo(subset)
    return [info.index_to_description(i) for i in range(count)]
