"""Start a run from the weights of another: labels go by name, whatever their order was there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)


def classes_of(path: str) -> list[str] | None:
    """Return the classes of a run by its checkpoint; None of any other file."""
    from fovea.ops.tensor_file import load_plain

    file = Path(path).expanduser()
    if file.suffix == ".safetensors" or not file.is_file():
        return None
    try:
        content = load_plain(file)
    except ValueError:  # who loads the weights says so
        return None
    about = content.get("fovea") if isinstance(content, dict) else None
    classes = about.get("classes") if isinstance(about, dict) else None
    return [str(name) for name in classes] if isinstance(classes, list) else None


def order_head(net: nn.Module, path: str, classes: Sequence[str]) -> None:
    """Bring the outputs of a net with a run's weights into the order of `classes`, where that is another."""
    saved, classes = classes_of(path), [str(name) for name in classes]
    if not saved or saved == classes or len(saved) != len(classes):
        return
    if sorted(saved) == sorted(classes) and _reorder(net, [saved.index(name) for name in classes]):
        log.info("%s: its %d classes are put into the order of these data", path, len(classes))
        return
    log.warning(
        "%s: its outputs are %s, those of these data %s: the head starts from the weights of other classes",
        path, _shown(saved), _shown(classes),
    )  # fmt: skip


def _reorder(net: nn.Module, order: list[int]) -> bool:
    """Reorder the outputs of the net's one last layer; return False where there is not just one.

    The output for the background of a net that has one stays the last.
    """
    import torch
    from torch import nn

    from fovea.optim.finetune_parts import classifier_names

    heads = [net.get_submodule(name) for name in classifier_names(net)]
    layers = [m for head in heads for m in head.modules() if list(m.parameters(recurse=False))]
    last = layers[0] if len(layers) == 1 else None
    if getattr(net, "background", False):
        order = [*order, len(order)]
    if not isinstance(last, nn.Linear | nn.Conv2d) or len(last.weight) != len(order):
        return False
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.copy_(parameter[order].clone())
    return True


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
