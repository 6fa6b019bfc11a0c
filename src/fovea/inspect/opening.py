"""Open a data set to look at it: any number of images, damaged or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea import errors
from fovea.config import build
from fovea.config.values import count
from fovea.errors import UsageError
from fovea.page.progress import progress
from fovea.types import Preprocessing

SMALL = 64  # pixels of the longer side up to which augment=light is the default, else standard


def resolved(config: DictConfig) -> DictConfig:
    """Return the config for looking at data: any number of images will do; an augmentation is chosen."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    for key in ("seed", "samples", "versions"):
        value = config[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < (key == "samples"):
            raise UsageError(f"{key} is {value!r}; allowed: an integer of at least {int(key == 'samples')}")
    if config.limit is not None:
        count(config, "limit")
    config.data.accepts = bool(config.data.get("subset", False))  # asked for: fewer images are no finding
    config.data.subset, config.data.batch_size = True, 1
    if "augment" not in config or config.augment is None:
        from fovea.config.groups import member

        size = config.data.image_size or 224
        longest = size if isinstance(size, int) else max(size)
        config.augment = member("augment", "light" if longest <= SMALL else "standard")
    return config


def preprocessing(config: DictConfig) -> Preprocessing:
    """Return how the images of the data set become inputs of a network without statistics of its own."""
    return build.preprocessing(OmegaConf.merge(config, {"model": {"pretrained": False}}), None)  # type: ignore[arg-type]


def datamodule(config: DictConfig, *, augment: bool = False) -> Any:
    """Read the data set as a training does."""
    if config.data.num_classes is None:
        build.count_classes(config)
    if not augment:
        config = config.copy()
        config.augment = {"sample": {}, "batch": {}}
    module = build.datamodule(config, preprocessing(config))
    module.prepare_data()
    module.setup()
    return module


def open_parts(config: DictConfig) -> tuple[list[Any], list[Any]]:
    """Return the splits as a training sees them; where that fails, those that open, and why others do not."""
    from fovea.inspect.splits import Part, open_each

    try:
        views = datamodule(config).views
        order = [name for name in ("train", "val", "test") if name in views]
        parts = [Part(name, views[name].dataset, views[name].indices) for name in order]
        findings: list[Any] = []
    except Exception as error:  # the very thing to report
        factory, root = build.make(config.data.dataset), Path(str(config.data.root))
        parts, findings = open_each(factory, channels=int(config.data.channels), root=root)
        findings = findings or [finding_of(error)]
    return [part.limited(config.limit, seed=config.seed) for part in parts], findings


def finding_of(error: Exception) -> Any:
    """Report a data set whose splits open one by one, but cannot be trained on."""
    from fovea.inspect.findings import Finding

    return Finding("cannot open", "all", "", " ".join(errors.explain(error).split()))


def walk(config: DictConfig, parts: Sequence[Any]) -> list[list[Any]]:
    """Look at every image once."""
    from fovea.inspect.walk import walk as look

    side = min(preprocessing(config)["image_size"])
    with progress(sum(map(len, parts)), str(config.data.name)) as advance:
        return [look(part, channels=int(config.data.channels), side=side, advance=advance) for part in parts]
