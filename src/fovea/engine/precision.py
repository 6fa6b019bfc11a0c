"""Choose the numeric precision by trial: a few warmed-up steps of the real network on a real batch."""

from __future__ import annotations

import copy
import logging
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from omegaconf import DictConfig, open_dict

log = logging.getLogger(__name__)
MARGIN = 0.95  # a candidate must be at least this much faster to be worth its rounding
ROUNDS = 3


def choose(config: DictConfig, net: torch.nn.Module, datamodule: Any) -> None:
    """Replace `trainer.precision: auto` by what is fastest here, and record why in the config.

    Candidates: fp32, and bf16 mixed with the channels-last layout (fp16 mixed on a GPU without bf16). They
    take turns, so that a drift of the machine hits both alike.
    """
    device = _device(str(config.trainer.accelerator))
    candidates = [("32-true", False), _reduced(device)]
    batch = _batch(datamodule, device)
    trials = [_trial(net, batch, device, precision, layout) for precision, layout in candidates]
    times: list[list[float]] = [[] for _ in trials]
    try:
        for round_ in range(ROUNDS + 1):
            for taken, trial in zip(times, trials, strict=True):
                seconds = next(trial)
                if round_:  # the first round warms up
                    taken.append(seconds)
    except (RuntimeError, TypeError) as error:  # an operator without a reduced-precision kernel
        log.warning(
            "trainer.precision=auto: 32-true, because the trial of %s failed: %s", candidates[1][0], error
        )
        times = [[1.0], [float("inf")]]
    base, reduced = (statistics.median(t) for t in times)
    ratio = reduced / base
    precision, channels_last = candidates[1] if ratio < MARGIN else candidates[0]
    reason = f"{candidates[1][0]} with channels-last takes {ratio:.2f} of the time of fp32 on {device.type}"
    with open_dict(config):
        config.trainer.precision = precision
        config.channels_last = bool(channels_last or config.channels_last)
        config.precision_reason = reason
    log.info("trainer.precision=auto: %s (%s)", precision, reason)


def _device(accelerator: str) -> torch.device:
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")


def _reduced(device: torch.device) -> tuple[str, bool]:
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return "16-mixed", True
    return "bf16-mixed", True


def _batch(datamodule: Any, device: torch.device) -> torch.Tensor:
    loader = datamodule.train_dataloader()
    image = next(iter(loader))["image"]
    return datamodule.preprocess.to_input(image.to(device))


def _trial(
    net: torch.nn.Module, image: torch.Tensor, device: torch.device, precision: str, channels_last: bool
) -> Iterator[float]:
    """Yield the seconds of one forward and backward step after another, on a copy of the network."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = copy.deepcopy(net).to(device).to(memory_format=layout).train()
    image = image.to(memory_format=layout)
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    while True:
        start = time.perf_counter()
        with torch.autocast(device.type, dtype=dtype, enabled=precision != "32-true"):
            loss = _score(net(image))
        loss.backward()
        net.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        yield time.perf_counter() - start


def _score(output: Any) -> torch.Tensor:
    """Reduce any output to a number whose gradient reaches all of it."""
    if isinstance(output, torch.Tensor):
        return output.float().square().mean()
    values = output.values() if isinstance(output, dict) else output
    return torch.stack([_score(v) for v in values]).sum()
