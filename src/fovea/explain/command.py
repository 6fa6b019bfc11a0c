"""Explain models: maps of images by any methods, and analyses of the models."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from fovea.config import build
from fovea.config.groups import member, members
from fovea.config.values import count, listed
from fovea.engine.imports import import_torchmetrics_fast
from fovea.engine.log import configure
from fovea.engine.processes import stop_signals
from fovea.engine.summary import command_line
from fovea.engine.trained import device
from fovea.errors import UsageError
from fovea.files import results_folder, written

if TYPE_CHECKING:
    import torch

    from fovea.explain.analyses.base import Analysis
    from fovea.explain.core.class_choice import ClassSelector
    from fovea.explain.core.method import Method
    from fovea.explain.core.model import ExplainedModel, OpenedModel
    from fovea.explain.run.images import ExplainedImages, ImageReader
    from fovea.explain.run.methods import LayerMethod

log = logging.getLogger(__name__)


def main(config: DictConfig) -> None:
    """Write `explain.html`, a figure for each image, every map, and what the analyses find."""
    configure(None)
    import_torchmetrics_fast()
    with stop_signals():
        _explain(config, output(config))


def _explain(config: DictConfig, out_dir: Path) -> None:
    from fovea.explain.open import open_models
    from fovea.explain.run.images import ImageReader
    from fovea.explain.run.mapper import Mapper
    from fovea.explain.run.methods import check_layers
    from fovea.explain.run.output import LIST, ResultFolder
    from fovea.explain.run.session import ExplainSession
    from fovea.explain.view.page import ExplainPage

    methods, analyses = make(config)
    on = device(str(config.accelerator))
    opened = open_models(config)
    check_layers(methods, [one.net for one in opened])
    selectors = [selector(one, config.target) for one in opened]
    images = _images(config, opened, written(out_dir, LIST))
    readers = [
        ImageReader(images, one, getattr(own, "label_of", None))
        for one, own in zip(opened, selectors, strict=True)
    ]
    calls = {method.key: method.call for method in methods}
    models = [
        _model(one, reader, device=on, selector=own, methods=calls, batch_size=count(config, "batch_size"))
        for one, reader, own in zip(opened, readers, selectors, strict=True)
    ]
    several = str(config.target).startswith("top-")
    folder = ResultFolder(out_dir, parts=list(analyses), ids=images.ids, several=several)
    page = ExplainPage(
        out_dir=out_dir,
        models=[model.name for model in models],
        command=command_line(),
        facts=_facts(config, images, opened, on),
    )
    mappers = [Mapper(model, methods, every_method) for model in models]
    ExplainSession(images=images, readers=readers, mappers=mappers, analyses=analyses).run(folder, page)


def output(config: DictConfig) -> Path:
    """Return where the results go: into the run, or where there is not just one, a folder of their own."""
    if config.output is not None:
        return results_folder(Path(str(config.output)))
    runs = listed(config, "run")
    if len(runs) == 1 and config.get("model") is None:
        run = Path(runs[0])
        home = run.parent if run.is_file() else run
        return results_folder(home / "explain", run=home)
    return Path(str(config.paths.logs)) / "explain" / time.strftime("%Y-%m-%d_%H-%M-%S")


def make(config: DictConfig) -> tuple[list[LayerMethod], dict[str, Analysis]]:
    """Return the methods that give maps, one for each layer asked for, and the analyses by their names."""
    from fovea.explain.analyses.base import Analysis
    from fovea.explain.run.methods import LayerMethod

    nodes = config.get("method") or {}
    if not nodes:
        raise UsageError(f"method= is missing: give one or more of {', '.join(members('method'))}")
    methods: list[LayerMethod] = []
    analyses: dict[str, Analysis] = {}
    for name, node in nodes.items():
        options: Any = OmegaConf.to_container(node, resolve=True)
        layers: Any = options.get("layer")
        several = isinstance(layers, list)
        for layer in layers if several else [layers]:
            made = build.make(options | {"layer": layer} if several else options)
            if isinstance(made, Analysis):
                analyses[str(name)] = made
                break
            path = layer if isinstance(layer, str) else None
            own = str(layer) if several else None
            methods.append(LayerMethod(name=str(name), call=made, layer=own, path=path))
    return methods, analyses


def every_method() -> dict[str, Method]:
    """Build the members of the group `method` that give maps, as far as they can be built."""
    from fovea.explain.analyses.base import Analysis

    found: dict[str, Method] = {}
    for name in members("method"):
        node = OmegaConf.create({"layer": None, "method": {name: member("method", name)}})
        try:
            made = build.make(OmegaConf.to_container(node.method[name], resolve=True))
        except Exception as error:  # it is only left out of a hint
            log.debug("method=%s", name, exc_info=error)
            continue
        if not isinstance(made, Analysis):
            found[name] = made
    return found


def selector(model: OpenedModel, target: Any) -> ClassSelector:
    """Build the class selector of a model for `target=`."""
    wanted = str(target).lower() if isinstance(target, bool) else target  # Hydra reads true as a truth value
    try:
        return model.selector(target=wanted)
    except ValueError as error:
        raise UsageError(f"{model.name}: {error}") from None


def _images(config: DictConfig, models: Sequence[OpenedModel], without: set[Path]) -> ExplainedImages:
    from fovea.explain.run.images import at_most, find, require_truth

    wanted, truth, root = (
        None if config[key] is None else str(config[key]) for key in ("input", "truth", "data_root")
    )
    images = find(wanted, models, truth=truth, data_root=root, without=without)
    if str(config.target).lower() == "true":
        require_truth(images)
    return at_most(images, None if config.number is None else count(config, "number"))


def _model(opened: OpenedModel, reader: ImageReader, **call: Any) -> ExplainedModel:
    from fovea.explain.core.model import ExplainedModel
    from fovea.explain.core.pixels import Pixels

    return ExplainedModel(
        name=opened.name,
        net=opened.net.to(call["device"]),
        classes=opened.classes,
        pixels=Pixels(mean=opened.preprocessing["mean"], std=opened.preprocessing["std"]),
        size=reader.preprocess.size,
        ids=reader.images.ids,
        load=reader.load,
        **call,
    )


def _facts(
    config: DictConfig, images: ExplainedImages, models: Sequence[OpenedModel], on: torch.device
) -> list[tuple[str, str, str]]:
    return [
        ("Images", f"{len(images.ids):,}", images.about),
        ("Models", f"{len(models)}", ", ".join(f"{model.name}: {model.source}" for model in models)),
        ("Methods", ", ".join(map(str, config.method)), ""),
        ("Target", str(config.target).lower() if isinstance(config.target, bool) else str(config.target), ""),
        ("Device", str(on), ""),
    ]
