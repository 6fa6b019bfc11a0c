"""Refuse what asks for more than this machine has: devices, cores, a GPU, Slurm."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from fovea.config.values import at
from fovea.errors import UsageError
from fovea.page.formats import counted


def check_machine(plain: object) -> None:
    """Raise a `UsageError` where a resolved config of a training asks for what this machine has not."""
    accelerator, devices = at(plain, "trainer.accelerator"), at(plain, "trainer.devices")
    _require_gpus(at(plain, "trainer.strategy"), accelerator)
    _require_slurm(at(plain, "trainer.plugins"))
    require_device(accelerator)
    require_cores(at(plain, "data.num_workers"))
    _require_devices(devices, accelerator)


def require_cores(workers: object, *, key: str = "data.num_workers") -> None:
    """Raise a `UsageError` for more worker processes than this machine has cores."""
    cores = number_of_cores()
    if isinstance(workers, int) and workers > max(2, cores):
        raise UsageError(
            f"{key}={workers}, but this machine has {cores} CPU cores; use {key}=auto or at most {cores}"
        )


def number_of_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _require_gpus(strategy: object, accelerator: object) -> None:
    """Raise for a strategy that divides a network among GPUs where there is to be none."""
    name = str(strategy.get("_target_") if isinstance(strategy, dict) else strategy)
    why = _no_gpu(accelerator)
    if why and re.search("fsdp|deepspeed", name, flags=re.IGNORECASE):
        raise UsageError(
            f"trainer.strategy={name.rpartition('.')[2]} divides a network among GPUs, but {why}; use "
            "trainer=ddp trainer.accelerator=cpu, or trainer.accelerator=gpu where there is one"
        )


def _no_gpu(accelerator: object) -> str | None:
    """Say why a run certainly uses no GPU; None where it may use one."""
    if accelerator == "cpu":
        return "trainer.accelerator is 'cpu'"
    return "no CUDA device was found" if accelerator == "auto" and not may_have_gpu() else None


def _require_slurm(plugins: Any) -> None:
    """Raise for what asks Slurm which process this is, where Slurm did not start it."""
    names = [str(node.get("_target_")) for node in plugins or () if isinstance(node, dict)]
    if any(name.endswith("SLURMEnvironment") for name in names) and "SLURM_NODEID" not in os.environ:
        raise UsageError(
            "trainer=slurm is for the tasks of a Slurm job: start it there with srun, or use trainer=ddp"
        )


def _require_devices(devices: object, accelerator: object) -> None:
    """Raise for more processes than cores, or more GPUs than there are; one is always there."""
    which = isinstance(devices, list) or devices == -1 or (isinstance(devices, str) and "," in devices)
    if (which or devices == "-1") and _no_gpu(accelerator):
        raise UsageError(
            f"trainer.devices={devices} names GPUs, but {_no_gpu(accelerator)}; give a number of processes: "
            "trainer.devices=2"
        )
    if not isinstance(devices, int) or isinstance(devices, bool) or devices < 2:
        return
    there, what = number_of_cores(), "CPU core"
    if accelerator != "cpu" and (accelerator == "mps" or may_have_gpu()):
        import torch

        if torch.cuda.is_available():
            there, what = torch.cuda.device_count(), "GPU"
        elif accelerator == "mps":
            there, what = 1, "GPU"
    if devices > max(there, 2 if what == "CPU core" else 1):
        raise UsageError(
            f"trainer.devices={devices}, but this machine has {counted(there, what)}; "
            f"use trainer.devices=auto or at most {there}"
        )


def require_device(accelerator: object, *, key: str = "trainer.accelerator") -> None:
    """Raise a `UsageError` where this machine has no such device."""
    if accelerator not in ("gpu", "cuda", "mps"):
        return
    choose = key.removesuffix(".accelerator")
    remedy = f"use {choose}=cpu or {choose}=auto"
    if accelerator != "mps" and not may_have_gpu():
        raise UsageError(f"{key}={accelerator}, but no CUDA device was found; {remedy}")
    import torch

    if accelerator == "mps" and not torch.backends.mps.is_available():
        why = "this machine has no Apple GPU"
    elif accelerator != "mps" and not torch.cuda.is_available():
        why = "no CUDA device was found" if torch.backends.cuda.is_built() else "this torch build has no CUDA"
    else:
        return
    raise UsageError(f"{key}={accelerator}, but {why}; {remedy}")


def may_have_gpu() -> bool:
    """Whether a GPU that torch's CUDA could use is worth asking torch for: its driver has made a device."""
    devices = ("nvidia*", "nvhost*", "nvmap", "dxg", "kfd")  # NVIDIA, Jetson, Windows' Linux, AMD
    return sys.platform != "linux" or any(any(Path("/dev").glob(name)) for name in devices)
