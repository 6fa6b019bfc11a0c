"""Use a net in the midst of its training, and leave no trace in it or in the random numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from fovea.explain.core.method import explaining


@contextmanager
def undisturbed(net: nn.Module) -> Iterator[None]:
    """Run `net` as `explaining` does, in the precision of its weights, without touching any generator.

    The generators of Python, numpy and torch stand where they stood, also after an error.
    """
    python, numpy, device = random.getstate(), np.random.get_state(), _device(net)
    cards = [device.index or 0] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(cards), torch.autocast(device.type, enabled=False), explaining(net):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _device(net: nn.Module) -> torch.device:
    first = next(net.parameters(), None)
    return torch.device("cpu") if first is None else first.device
