"""Measure what networks cost: FLOPs, size, latency, throughput and memory, side by side on one device."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fovea.compare.cost import cuda_memory, flops, size
from fovea.compare.grouping import Row
from fovea.engine.trained import open_run
from fovea.page.formats import shorten

log = logging.getLogger(__name__)
BATCH, WARM_UP, FEWEST = 32, 3, 5


@dataclass
class Subject:
    """A network with one image and one batch for it, and what was measured of it."""

    net: Any
    one: Any
    many: Any
    rows: list[Row]
    cost: dict[str, Any] = field(default_factory=dict)
    one_s: list[float] = field(default_factory=list)
    many_s: list[float] = field(default_factory=list)


def measure(rows: Sequence[Row], *, place: Any, rounds: int, seconds: float) -> tuple[list[str], list[str]]:
    """Fill in `cost` of every row; return how it was measured, and which rows have no network to measure.

    Rows with the same network share one measurement: the weights do not change its cost.
    """
    import torch

    subjects, notes = _open(rows, place)
    if not subjects:
        return [], notes
    done = take_turns(subjects, rounds=rounds, seconds=seconds, wait=waiter(place))
    for subject in subjects:
        subject.cost |= times(subject.one_s, subject.many_s)
        for row in subject.rows:
            row.cost |= subject.cost
    cuda = place.type == "cuda"
    name = torch.cuda.get_device_name(place) if cuda else f"CPU (threads: {torch.get_num_threads()})"
    return [_method(name, done, torch.__version__), _memory(place.type)], notes


def _open(rows: Sequence[Row], place: Any) -> tuple[list[Subject], list[str]]:
    """Rebuild each different network once; one that cannot be used takes nothing from the others."""
    subjects: dict[str, Subject] = {}
    broken: dict[str, str] = {}
    for row in rows:
        key = _network(row.runs[0].config)
        if key in subjects:
            subjects[key].rows.append(row)
            continue
        try:
            subjects[key] = _subject(row, place)
        except Exception as error:  # no checkpoint, or one of an architecture that has changed since
            broken[row.name] = " ".join(str(error).split())
    mixed = [row.name for row in rows if len({_network(run.config) for run in row.runs}) > 1]
    said = [f"{name} holds different networks, of which one was measured." for name in mixed]
    said += [f"{name} is not timed: {shorten(error, width=300)}" for name, error in broken.items()]
    return list(subjects.values()), said


def _subject(row: Row, place: Any) -> Subject:
    """Rebuild the network of a row, and count what needs no clock."""
    import torch

    saved = [run for run in row.runs if (run.dir / "checkpoints" / "best.ckpt").is_file()]
    trained = open_run(str((saved or row.runs)[0].dir), "best")
    last = torch.channels_last if trained.config.get("channels_last") else torch.contiguous_format
    how = trained.preprocessing
    shape = (BATCH, int(how["channels"]), *map(int, how["image_size"]))
    many = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(place)
    many = many.contiguous(memory_format=last)
    net = trained.net.float().eval().to(place).to(memory_format=last)
    one = many[:1].clone(memory_format=last)
    cost = {"flops": flops(net, one), "weights_mb": size(net) / 1e6}
    if place.type == "cuda":
        cost["inference_memory_mb"] = cuda_memory(net, many) / 1e6
    return Subject(net, one, many, [row], cost)


def _network(config: Mapping[str, Any]) -> str:
    """Return what tells networks apart."""
    data, model = config.get("data") or {}, config.get("model") or {}
    parts = [model.get("net"), data.get("image_size"), data.get("channels"), config.get("channels_last")]
    return json.dumps(parts, sort_keys=True, default=str)


def take_turns(
    subjects: Sequence[Subject], *, rounds: int, seconds: float, wait: Callable[[], None]
) -> tuple[int, int]:
    """Time every network once a round, in an order drawn anew, so that drift of the machine hits all alike.

    Each timed call follows an untimed one, which brings the network back into the caches. Returns the rounds
    at batch 1 and at batch 32.
    """
    import torch

    draw, done = random.Random(0), []
    with torch.inference_mode():
        for batch, record in (("one", "one_s"), ("many", "many_s")):
            spent = sum(_warm_up(s.net, getattr(s, batch), wait) for s in subjects)  # one call of each
            fitting = int(seconds * len(subjects) / 2 / max(2 * spent, 1e-9))
            done.append(min(rounds, max(fitting, min(FEWEST, rounds))))
            for _ in range(done[-1]):
                for subject in draw.sample(list(subjects), len(subjects)):
                    x = getattr(subject, batch)
                    timed(subject.net, x, wait)
                    getattr(subject, record).append(timed(subject.net, x, wait))
    return done[0], done[1]


def _warm_up(net: Any, x: Any, wait: Callable[[], None]) -> float:
    return [timed(net, x, wait) for _ in range(WARM_UP)][-1]


def timed(net: Any, x: Any, wait: Callable[[], None]) -> float:
    """Return the seconds of one forward pass."""
    wait()
    start = time.perf_counter()
    net(x)
    wait()
    return time.perf_counter() - start


def waiter(place: Any) -> Callable[[], None]:
    """Return a function that waits for the device."""
    import torch

    found = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}
    return found.get(place.type, lambda: None)


def times(one_s: Sequence[float], many_s: Sequence[float]) -> dict[str, float]:
    """Return latency percentiles at batch 1 and the median throughput at batch 32."""
    import numpy as np

    p50, p95 = np.percentile(np.asarray(one_s) * 1e3, [50, 95])
    rate = BATCH / float(np.median(many_s))
    return {"latency_p50_ms": float(p50), "latency_p95_ms": float(p95), "images_per_s": rate}


def _method(name: str, done: tuple[int, int], version: str) -> str:
    return (
        f"Inference was measured by this command on {name}, float32, PyTorch {version}, without reading "
        f"images: {done[0]} rounds at batch 1 and {done[1]} at batch {BATCH}, each network once a round in "
        "random order, after a warm-up. Rows with the same network share its measurement. FLOPs are of one "
        "image, a multiply-add counted as two, element-wise operations not counted."
    )


def _memory(kind: str) -> str:
    if kind == "cuda":
        return f"Inference memory is the peak of weights and activations at batch {BATCH}."
    return "Inference memory is measured on CUDA only."
