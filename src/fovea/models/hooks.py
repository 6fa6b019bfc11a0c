"""Record the outputs of modules with hooks that are always removed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn


@contextmanager
def record(net: nn.Module, *paths: str) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of the modules at `paths` (`layer4.1.conv2`) while the block runs.

    What is collected is in the graph, so `torch.autograd.grad` takes it. The layers above see a copy, which
    they may change in place. Of a module that runs several times the last output stays; of several outputs
    the first tensor.

    Raises:
        ValueError: a path that the net has not, with those near it.
    """
    modules = {path: find(net, path) for path in paths}
    outputs: dict[str, Tensor] = {}
    handles = [module.register_forward_hook(partial(_tap, outputs, path)) for path, module in modules.items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def find(net: nn.Module, path: str) -> nn.Module:
    """Return the module at a dotted path; ValueError with the paths near one that the net has not."""
    modules = dict(net.named_modules())
    if path not in modules:
        near = difflib.get_close_matches(path, filter(None, modules), n=5, cutoff=0.0)
        raise ValueError(f"{type(net).__name__} has no layer {path!r}; near it are {', '.join(near)}")
    return modules[path]


def _tap(outputs: dict[str, Tensor], path: str, module: nn.Module, inputs: Any, output: Any) -> Any:
    if isinstance(output, Tensor):
        outputs[path] = output
        return output.clone()  # an in-place ReLU above would overwrite what is collected
    first = next((o for o in output if isinstance(o, Tensor)), None) if isinstance(output, tuple) else None
    if first is not None:
        outputs[path] = first
    return output
