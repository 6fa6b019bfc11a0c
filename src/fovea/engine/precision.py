"""Choose the numeric precision by trial: a few warmed-up steps of the real network on a real batch."""

from __future__ import annotations

import copy
import logging
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig, open_dict

from fovea.engine import checkpoint
from fovea.ops import rng

if TYPE_CHECKING:
    from fovea.data.module import DataModule

log = logging.getLogger(__name__)
MARGIN = 0.95  # a candidate must be at least this much faster to be worth its rounding
HOPELESS = 3.0  # one that takes so many times as long is given up after its warm-up
ROUNDS = 2
PART = 4  # a quarter of a batch tells the ratio in a quarter of the time


def settle(config: DictConfig, net: torch.nn.Module, datamodule: DataModule, ckpt_path: Path | None) -> None:
    """Choose for a new run; a resumed one keeps what its checkpoint says. On a CPU half precision is bf16."""
    if config.trainer.precision != "auto":
        if _device(str(config.trainer.accelerator)).type == "cpu":
            log.warning("trainer.precision is bf16-mixed instead of 16-mixed, which a CPU has not")
            config.trainer.precision = "bf16-mixed"
    elif ckpt_path is None:
        choose(config, net, datamodule)
    else:
        saved = checkpoint.load(ckpt_path)["fovea"]["config"]
        _record(
            config,
            precision=saved["trainer"]["precision"],
            channels_last=saved["channels_last"],
            reason=saved.get("precision_reason", "as before it was resumed"),
        )


def choose(config: DictConfig, net: torch.nn.Module, datamodule: DataModule) -> None:
    """Replace `trainer.precision: auto` by what is fastest here, and record why in the config.

    Candidates: fp32, and bf16 mixed with the channels-last layout (fp16 mixed on a GPU without bf16). They
    take turns, so that a drift of the machine hits both alike. The network, and every random number drawn
    afterwards, are as they were before.
    """
    device = _device(str(config.trainer.accelerator))
    base, reduced = ("32-true", bool(config.channels_last)), _reduced(device)
    with rng.restored(device):  # starting a loader draws from one generator, dropout from another
        batch = _batch(datamodule, device)
        seconds, failure = _race(net, batch, device, [base, reduced])
    precision, channels_last = base
    if failure is not None:
        reason = f"the trial failed: {failure}"
        log.warning("trainer.precision=auto: %s, because %s", precision, reason)
    else:
        ratio = seconds[1] / seconds[0]
        precision, channels_last = reduced if ratio < MARGIN else base
        reason = f"{reduced[0]} with channels-last takes {ratio:.2f} of the time of fp32 on {device.type}"
        log.info("trainer.precision=auto: %s (%s)", precision, reason)
    _record(config, precision=precision, channels_last=channels_last, reason=reason)


def _record(config: DictConfig, *, precision: str, channels_last: bool, reason: str) -> None:
    with open_dict(config):
        config.trainer.precision = precision
        config.channels_last = channels_last
        config.precision_reason = reason


def _device(accelerator: str) -> torch.device:
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")


def _reduced(device: torch.device) -> tuple[str, bool]:
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return "16-mixed", True
    return "bf16-mixed", True


def _batch(datamodule: DataModule, device: torch.device) -> torch.Tensor:
    loader = datamodule.train_dataloader()
    image = next(iter(loader))["image"]
    if device.type == "cpu":  # on a GPU a whole batch takes no time, and a part of one would not fill it
        image = image[: max(8, len(image) // PART)]
    return datamodule.preprocess.to_input(image.to(device))


def _race(
    net: torch.nn.Module, batch: torch.Tensor, device: torch.device, candidates: list[tuple[str, bool]]
) -> tuple[list[float], str | None]:
    """Return the median seconds of a step of each candidate, or which one failed and how."""
    times: list[list[float]] = [[] for _ in candidates]
    trials = [_trial(net, batch, device, precision, layout) for precision, layout in candidates]
    for round_ in range(ROUNDS + 1):
        for taken, trial, (precision, _) in zip(times, trials, candidates, strict=True):
            try:
                taken.append(next(trial))
            except Exception as error:  # mostly an operator without a reduced-precision kernel
                return [], f"{precision}: {str(error).strip().partition(chr(10))[0] or type(error).__name__}"
        if round_ == 0 and times[1][0] > HOPELESS * times[0][0]:
            break
    # the first round warms up
    return [statistics.median(taken[1:] or taken) for taken in times], None


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
        if loss.requires_grad:  # else everything is frozen: the forward pass is all there is
            loss.backward()
        net.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        yield time.perf_counter() - start


def _score(output: object) -> torch.Tensor:
    """Reduce any output to a number whose gradient reaches all of it."""
    return sum((t.float().square().mean() for t in _tensors(output)), start=torch.zeros(()))


def _tensors(output: object) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, dict | list | tuple):
        for value in output.values() if isinstance(output, dict) else output:
            yield from _tensors(value)
