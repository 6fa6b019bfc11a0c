"""List the layers of a net with their output shapes and parameters."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from fovea.files import write_text
from fovea.page.text_table import text_table

log = logging.getLogger(__name__)
HEADS = ("layer", "kind", "output", "parameters")


class ModelSummary(L.Callback):
    """Write `layers.csv` from one forward pass of a blank image, and print it, before the training."""

    def __init__(self, *, run_dir: str) -> None:
        self.file = Path(run_dir) / "layers.csv"

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Run the net once; the state of training is as before."""
        if not trainer.is_global_zero:
            return
        preprocess = trainer.datamodule.preprocess  # type: ignore[attr-defined]
        image = torch.zeros(1, preprocess.channels, *preprocess.size, device=pl_module.device)
        rows = layers(pl_module.net, image)  # type: ignore[arg-type]
        total = sum(row[3] for row in rows)
        text = io.StringIO(newline="")
        csv.writer(text).writerows([HEADS, *rows])
        write_text(self.file, text.getvalue())
        about = f"{total:,} parameters; input {_shape(image)}"
        log.info("\n%s\n%s", text_table(rows, HEADS, align="lllr"), about)


def layers(net: nn.Module, image: Tensor) -> list[tuple[str, str, str, int]]:
    """Return name, kind, output shape and own parameters of each innermost layer, in the order of the calls.

    A layer that is called several times stands there for each call, with its parameters at the first.
    """
    found: list[tuple[str, str, str, int]] = []

    def note(name: str, kind: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            again = any(row[0] == name for row in found)
            count = 0 if again else sum(p.numel() for p in module.parameters(recurse=False))
            found.append((name, kind, _shape(output), count))

        return hook

    chosen = [
        (name or "(the net itself)", module)
        for name, module in net.named_modules()
        if not list(module.children()) or list(module.parameters(recurse=False))
    ]
    handles = [module.register_forward_hook(note(name, type(module).__name__)) for name, module in chosen]
    training = {module: module.training for module in net.modules()}
    try:
        with torch.no_grad():
            net.eval()(image)
    finally:
        for handle in handles:
            handle.remove()
        for module, before in training.items():
            module.training = before
    return found


def _shape(output: Any) -> str:
    """Return `1 × 3 × 64 × 64`; of several tensors that of the first."""
    while isinstance(output, list | tuple | dict) and output:
        output = next(iter(output.values())) if isinstance(output, dict) else output[0]
    return " × ".join(map(str, output.shape)) if isinstance(output, Tensor) else type(output).__name__
