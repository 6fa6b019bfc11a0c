"""Measure what networks cost: FLOPs, size, latency, throughput and memory, side by side on one device."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fovea import errors
from fovea.compare.types import ModelGroup
from fovea.page.formats import counted, shorten

BATCH, WARM_UP, FEWEST = 32, 3, 5
OpenNet = Callable[[Path], tuple[nn.Module, Mapping[str, Any]]]  # run directory -> network, preprocessing


@dataclass
class TimedModel:
    """A network with one image and one batch for it, and what was measured of it."""

    net: nn.Module
    one: Tensor  # (1, C, H, W)
    many: Tensor  # (BATCH, C, H, W)
    cost: dict[str, float] = field(default_factory=dict)
    one_s: list[float] = field(default_factory=list)
    many_s: list[float] = field(default_factory=list)


def measure(
    groups: Sequence[ModelGroup], *, open_net: OpenNet, device: torch.device, rounds: int, seconds: float
) -> tuple[dict[str, dict[str, float]], list[str], list[str]]:
    """Return the cost of every group by name, how it was measured, and what could not be measured.

    Groups with the same network share one measurement: the weights do not change its cost.
    """
    models, notes = _open(groups, open_net, device)
    if not models:
        return {}, [], notes
    done = take_turns(list(models.values()), rounds=rounds, seconds=seconds, wait=waiter(device))
    for model in models.values():
        model.cost |= times(model.one_s, model.many_s)
    known = {group.name: models.get(_network(group.runs[0].config)) for group in groups}
    cost = {name: model.cost for name, model in known.items() if model is not None}
    return cost, _method(device, done), notes


def _open(
    groups: Sequence[ModelGroup], open_net: OpenNet, device: torch.device
) -> tuple[dict[str, TimedModel], list[str]]:
    """Rebuild each different network once; one that cannot be used takes nothing from the others."""
    models: dict[str, TimedModel] = {}
    broken: dict[str, tuple[str, str]] = {}
    for group in groups:
        key = _network(group.runs[0].config)
        if key in models:
            continue
        try:
            models[key] = _timed_model(group, open_net, device)
        except Exception as error:  # no checkpoint, or one of an architecture that has changed since
            broken[group.name] = key, " ".join(errors.explain(error).split())
    mixed = [group.name for group in groups if len({_network(run.config) for run in group.runs}) > 1]
    notes = [f"The runs of {name} have different networks, of which one was measured." for name in mixed]
    notes += [f"{name} is not timed: {shorten(error, width=300)}" for name, (key, error) in broken.items()
              if key not in models]  # fmt: skip
    return models, notes


def _network(config: Mapping[str, Any]) -> str:
    """Return what distinguishes networks."""
    data, model = config.get("data") or {}, config.get("model") or {}
    parts = [model.get("net"), data.get("image_size"), data.get("channels"), config.get("channels_last")]
    return json.dumps(parts, sort_keys=True, default=str)


def _timed_model(group: ModelGroup, open_net: OpenNet, device: torch.device) -> TimedModel:
    """Rebuild the network of a group, and count what needs no clock."""
    saved = [run for run in group.runs if (run.dir / "checkpoints" / "best.ckpt").is_file()]
    run = (saved or group.runs)[0]
    net, preprocessing = open_net(run.dir)
    layout = torch.channels_last if run.config.get("channels_last") else torch.contiguous_format
    shape = (BATCH, int(preprocessing["channels"]), *map(int, preprocessing["image_size"]))
    many = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    many = many.contiguous(memory_format=layout)
    net = net.float().eval().to(device).to(memory_format=layout)
    one = many[:1].clone(memory_format=layout)
    cost = {"flops": float(flops(net, one)), "weights_mb": size(net) / 1e6}
    if device.type == "cuda":
        cost["inference_memory_mb"] = cuda_memory(net, many) / 1e6
    return TimedModel(net, one, many, cost)


def flops(net: nn.Module, x: Tensor) -> int:
    """Count the floating-point operations of one image, a multiply-add as two.

    Matrix products, convolutions and attention count; element-wise operations do not. Fused attention is
    taken apart for it, since the counter sees nothing of what runs inside a fused call.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            net(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops()) // len(x)


def size(net: nn.Module) -> int:
    """Return the bytes of parameters and buffers, shared ones once."""
    tensors = {t.data_ptr(): t for t in [*net.parameters(), *net.buffers()] if t.numel()}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def cuda_memory(net: nn.Module, x: Tensor) -> int:
    """Return the peak bytes of weights and activations."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.inference_mode():
        net(x)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before + size(net)


def take_turns(
    models: Sequence[TimedModel], *, rounds: int, seconds: float, wait: Callable[[], None]
) -> tuple[int, int]:
    """Time every network once a round, in a new random order, so that drift of the machine affects all alike.

    Each timed call follows an untimed one, which brings the network back into the caches. Returns the rounds
    at batch 1 and at batch 32.
    """
    draw, done = random.Random(0), []
    with torch.inference_mode():
        for batch, record in (("one", "one_s"), ("many", "many_s")):
            spent = sum(_warm_up(model.net, getattr(model, batch), wait) for model in models)  # one call each
            fitting = int(seconds * len(models) / 2 / max(2 * spent, 1e-9))
            done.append(min(rounds, max(fitting, min(FEWEST, rounds))))
            for _ in range(done[-1]):
                for model in draw.sample(list(models), len(models)):
                    x = getattr(model, batch)
                    timed(model.net, x, wait)
                    getattr(model, record).append(timed(model.net, x, wait))
    return done[0], done[1]


def _warm_up(net: nn.Module, x: Tensor, wait: Callable[[], None]) -> float:
    return [timed(net, x, wait) for _ in range(WARM_UP)][-1]


def timed(net: nn.Module, x: Tensor, wait: Callable[[], None]) -> float:
    """Return the seconds of one forward pass."""
    wait()
    start = time.perf_counter()
    net(x)
    wait()
    return time.perf_counter() - start


def waiter(device: torch.device) -> Callable[[], None]:
    """Return a function that waits for the device."""
    found = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}
    return found.get(device.type, lambda: None)


def times(one_s: Sequence[float], many_s: Sequence[float]) -> dict[str, float]:
    """Return latency percentiles at batch 1 and the median throughput at batch 32."""
    p50, p95 = np.percentile(np.asarray(one_s) * 1e3, [50, 95])
    rate = BATCH / float(np.median(many_s))
    return {"latency_p50_ms": float(p50), "latency_p95_ms": float(p95), "images_per_s": rate}


def _method(device: torch.device, done: tuple[int, int]) -> list[str]:
    """Describe how the cost was measured."""
    cuda = device.type == "cuda"
    name = (
        torch.cuda.get_device_name(device) if cuda else f"CPU ({counted(torch.get_num_threads(), 'thread')})"
    )
    return [
        f"Inference was measured by this command on {name}, float32, PyTorch {torch.__version__}, without "
        f"reading images: {done[0]} rounds at batch 1 and {done[1]} at batch {BATCH}, each network once a "
        "round in random order, after a warm-up. Models with the same network share its measurement. FLOPs "
        "are of one image, a multiply-add counted as two, element-wise operations not counted.",
        f"Inference memory is the peak of weights and activations at batch {BATCH}."
        if cuda
        else "Inference memory is measured on CUDA only.",
    ]
