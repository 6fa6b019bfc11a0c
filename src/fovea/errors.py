"""Turn an exception into a message with a remedy."""

from __future__ import annotations

import errno
import os
import re
import traceback
from typing import Any

FILE = "FOVEA_ERROR_FILE"  # names the file that takes the message with which a command ends


class UsageError(ValueError):
    """The command line asks for something that cannot be; the message names the remedy."""


class Interrupted(BaseException):
    """The run was told to stop (Ctrl-C or SIGTERM)."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class ProcessFailed(RuntimeError):
    """Another process of a distributed run failed; the message is already one for the user."""


MEMORY = (
    "out of memory: try data.batch_size={half} (with trainer.accumulate_grad_batches=2 for the same update), "
    "a smaller data.image_size or model, or trainer.precision=bf16-mixed"
)

CACHE = (
    "out of memory: data.cache=true keeps every decoded image in memory; try data.cache=auto, which keeps "
    "only what fits, or data.cache=false"
)
SHARED_MEMORY = (
    "shared memory (/dev/shm) is exhausted, through which worker processes hand over their batches: try "
    "data.num_workers=0, or give it more (docker run --shm-size=2g)"
)
LIBRARIES = (
    "memory does not suffice to load torch and the libraries beside it: raise the limit (ulimit -v "
    "unlimited), or ask for more memory where the job is submitted"
)
CALL = re.compile(r"^[\w.]+\(\) ")  # how Python begins what is wrong with a call
TOO_SMALL = ("Output size is too small", "Kernel size can't be greater than actual input size")  # of torch
ONE_VALUE = (
    "a batch norm has one value per channel to normalise by: one image at a time, and feature maps of 1×1. "
    "Set data.batch_size to at least 2 on each device, a larger data.image_size, or a model with another "
    "normalisation"
)
INSIDE = ("full_key:", "object_type", "reference_type")  # lines that OmegaConf adds
FULL = (errno.ENOSPC, errno.EDQUOT)
ELSEWHERE = "give another place by run_dir=, output= or sweep_dir="
REMEDIES = {
    errno.EROFS: f"the file system is read-only; {ELSEWHERE}",
    errno.EACCES: f"permission denied; change its permissions, or {ELSEWHERE}",
    errno.EPERM: f"permission denied; change its permissions, or {ELSEWHERE}",
    errno.ENOTDIR: f"what stands above it is a file, no folder; {ELSEWHERE}",
    errno.ENAMETOOLONG: "the name is too long for the file system; choose a shorter one",
    errno.EIO: "the disk fails; copy what is there, and go on elsewhere",
}


def of_system(error: OSError) -> str:
    """Return the message where the system refuses to read or write a file."""
    known = REMEDIES.get(error.errno or 0)
    return f"{error.filename}: {known or (error.strerror or 'it cannot be used').lower()}"


def disk_full(path: object) -> str:
    """Return the message where a file found no room."""
    what = "a file" if path is None else str(path)
    return f"{what} could not be written: the disk or your quota is full; free some space, then go on"


def root_cause(error: BaseException) -> BaseException:
    """Follow the chain of causes to the first error, through wrappers that only say where."""
    while error.__cause__ is not None and type(error).__module__.split(".")[0] in ("hydra", "omegaconf"):
        error = error.__cause__
    return error


def config_path(error: BaseException) -> str | None:
    """Return the config key whose `_target_` failed, where a wrapper names it."""
    seen: BaseException | None = error
    while seen is not None:
        text = "\n".join([str(seen), *getattr(seen, "__notes__", [])])
        for line in reversed(text.splitlines()):
            if line.strip().startswith("full_key:"):
                return line.split(":", 1)[1].strip()
        seen = seen.__cause__ or seen.__context__
    return None


def explain(error: BaseException, *, config: Any = None) -> str:
    """Return one message for the user: what went wrong, at which config key, and the remedy where known."""
    cause = root_cause(error)
    if is_shared_memory(cause):
        return SHARED_MEMORY
    if isinstance(cause, ImportError) and "failed to map segment" in str(cause):
        return LIBRARIES
    if isinstance(cause, OSError) and cause.errno in FULL:
        return disk_full(cause.filename)
    if isinstance(cause, OSError) and cause.errno is not None and cause.filename is not None:
        return of_system(cause)
    if is_out_of_memory(cause):
        size = 0 if config is None else int(config.data.batch_size)
        cached = config is not None and config.data.get("cache") is True and _on_host(cause)
        return CACHE if cached else MEMORY.format(half=max(1, size // 2))
    if type(cause).__name__ == "NonFiniteLoss":
        return (
            f"the loss became NaN or infinite at step {cause.args[0]}; the last good checkpoint is kept. "
            "Try a smaller optimizer.lr, trainer.gradient_clip_val=1.0 or trainer.precision=32-true"
        )
    text = str(cause).strip() or type(cause).__name__
    if text.startswith("Expected more than 1 value per channel when training"):
        return ONE_VALUE
    if any(words in text for words in TOO_SMALL):
        found = "" if config is None else f" ({config.data.image_size})"
        return f"data.image_size{found} is too small for this network, which halves it more often: raise it"
    key = config_path(error)
    if type(cause).__module__.split(".")[0] in ("hydra", "omegaconf"):
        text = "; ".join(line.strip() for line in text.splitlines() if not line.strip().startswith(INSIDE))
    elif key is not None and isinstance(cause, TypeError | AttributeError | LookupError | ArithmeticError):
        text = f"{key} cannot be built with the values given: {CALL.sub('it ', text)}"
    elif not isinstance(cause, ValueError | FileNotFoundError | ProcessFailed) and not _for_users(cause):
        text = f"{type(cause).__name__}: {text}"
    said = key is None or "(in config key: " in text or text.startswith(f"{key} ")
    return text if said else f"{text}\n  (in config key: {key})"


def _for_users(error: BaseException) -> bool:
    """Whether Lightning says that a setting is wrong."""
    return type(error).__name__ == "MisconfigurationException"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the device or the host."""
    name, text = type(error).__name__, str(error)
    return (
        name in ("OutOfMemoryError", "MemoryError") or "not enough memory" in text or "can't allocate" in text
    )


def _on_host(error: BaseException) -> bool:
    """Whether it was the memory of the machine that ran out, not that of a GPU."""
    return type(error).__name__ != "OutOfMemoryError"


def is_shared_memory(error: BaseException) -> bool:
    """Whether worker processes ran out of shared memory: torch says so in several ways."""
    text = f"{error} {error.__cause__}"  # of several workers that end, the cause tells how
    full = "unable to write to file </torch_" in text or "unable to allocate shared memory" in text
    return full or "out of shared memory" in text or ("DataLoader worker" in text and "Bus error" in text)


def details(error: BaseException) -> str:
    """Return the full traceback, for the log file."""
    return "".join(traceback.format_exception(error))


def wants_traceback() -> bool:
    """Whether the user asked for tracebacks on the terminal."""
    return os.environ.get("FOVEA_TRACEBACK", "") not in ("", "0")
