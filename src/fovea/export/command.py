"""Export a trained run; a file that differs from the network is refused."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from fovea.config.values import count, require
from fovea.engine.imports import import_torchmetrics_fast
from fovea.engine.log import configure
from fovea.engine.processes import stop_signals
from fovea.engine.trained import Trained, open_run
from fovea.errors import UsageError
from fovea.files import own_folder, replacing, results_folder
from fovea.page.formats import counted

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fovea.export.formats import Format

log = logging.getLogger(__name__)


def main(config: DictConfig) -> None:
    """Write the folder of one format; ExportError where the file differs from the network."""
    from fovea.export.formats import choose

    configure(None)
    import_torchmetrics_fast()
    require(config, "run")
    form = choose(config.format)
    _check(config)
    with stop_signals():
        trained = open_run(str(config.run), str(config.checkpoint))
        if callable(getattr(trained.net, "detect", None)) and form.name != "onnx":
            raise UsageError(
                f"run={config.run} is of a detector, which is written as format=onnx alone: "
                f"{form.name} has no operator that suppresses duplicate boxes and runs without this suite"
            )
        run = Path(str(config.run)) if Path(str(config.run)).is_dir() else trained.path.parent
        own = config.output is None
        chosen = run / "export" / form.name if own else Path(str(config.output))
        folder = results_folder(chosen, run=run if own else None)
        about = export(trained, form, folder, config)
    log.info("\n%s", _table(about, folder))


def _check(config: DictConfig) -> None:
    """Refuse numbers that make no sense, before anything is read."""
    from fovea.export.parity import BATCHES

    count(config, "rounds")
    if count(config, "images") < sum(BATCHES):
        raise UsageError(f"images is {config.images}; at least {sum(BATCHES)} make batches of 1 and 7")
    if config.opset is not None:
        count(config, "opset")
        if config.format != "onnx":
            raise UsageError(f"opset= is for format=onnx; format={config.format} has none")
    tolerance = config.tolerance
    known = isinstance(tolerance, int | float) and not isinstance(tolerance, bool)
    if not known or not 0 <= tolerance < math.inf:
        raise UsageError(f"tolerance is {tolerance!r}; allowed: a number of at least 0, such as 1e-4")


def export(trained: Trained, form: Format, folder: Path, config: DictConfig) -> dict[str, Any]:
    """Write, check and time; the file gets its name, and replaces an older one, only when it has passed.

    One that does not compute what the network does is set aside, under a name that nobody loads.
    """
    from fovea.export import folder as contents
    from fovea.export import formats, parity

    trained.net.float().eval().requires_grad_(False)
    images, source = parity.images(trained, number=config.images, data_root=config.data_root)
    about = contents.facts(trained, form, images[:2])
    file = folder / form.file
    failed = file.with_name(f"{file.name}.failed")
    own_folder(folder)
    with replacing(file) as draft:
        about |= formats.write(form, trained.net, images[:2].contiguous(), draft, opset=config.opset)
        about["bytes"] = draft.stat().st_size
        try:
            about |= _measure(trained.net, draft, about, images, config)
        except formats.ExportError as error:
            os.replace(draft, failed)
            older = f"; {file} is still the older export" if file.exists() else ""
            raise formats.ExportError(
                f"the exported file is refused: {error}\n  kept as {failed}{older}"
            ) from error
    about["parity"] |= {"images": len(images), "source": source}
    failed.unlink(missing_ok=True)
    contents.write(folder, about)
    return about


def _measure(
    net: nn.Module, file: Path, about: dict[str, Any], images: Tensor, config: DictConfig
) -> dict[str, Any]:
    """Load the file as its users will; return how exact and how fast it is."""
    import torch

    from fovea.export import box_parity, formats, parity
    from fovea.export.predict_example import open_model

    with formats.quiet():
        model = open_model(file, about, threads=torch.get_num_threads())
    how: Any = box_parity if callable(getattr(net, "detect", None)) else parity
    checked = how.compare(net, model, images)
    return {
        "parity": parity.gate(checked, tolerance=float(config.tolerance)) | {"batches": how.BATCHES},
        "latency": parity.latency(net, model, images[:1].contiguous(), rounds=config.rounds),
    }


def _table(about: dict[str, Any], folder: Path) -> str:
    """Format a summary: what was written, how exact and how fast it is."""
    from fovea.page.text_table import text_table

    parity, cost = about["parity"], about["latency"]
    kind = f"{about['format']} (opset {about['opset']})" if "opset" in about else about["format"]
    rows = [
        ("format", kind),
        ("file", f"{folder / about['file']}, {about['bytes'] / 1e6:.3g} MB"),
        ("parity", f"largest difference {parity['max_abs_difference']:.2g} (relative "
         f"{parity['max_rel_difference']:.2g}) on {parity['images']} {parity['source']}, {_batches(parity)}"),
        ("latency", f"{cost['exported_p50_ms']:.3g} ms, torch {cost['torch_p50_ms']:.3g} ms (medians, one "
         f"image, CPU, {counted(cost['threads'], 'thread')})"),
    ]  # fmt: skip
    if parity["same_argmax"] is not None:
        rows.insert(3, ("same argmax", f"{100 * parity['same_argmax']:.1f} %"))
    return text_table([*rows, *([("note", about["note"])] if "note" in about else [])], align="ll")


def _batches(parity: dict[str, Any]) -> str:
    """Say in what batches both were compared, and what of detections."""
    *sizes, last = map(str, parity["batches"])
    known = [found["detections"] for found in parity["outputs"].values() if "detections" in found]
    words = f"batches of {', '.join(sizes)} and {last}"
    if not known:
        return words
    of = f"{counted(known[0], 'detection')}, positions as shares of the sides"
    return f"{words}; {of}; and images without objects"
