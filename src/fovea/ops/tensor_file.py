"""Load tensors and plain containers from a file that may come from anybody: the one loader of weights."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CODE = re.compile(r"(?:GLOBAL|global|type|class) `?([A-Za-z_][\w.]*\.[\w.]+)")


class Damaged(ValueError):
    """The file holds no tensors that can be read."""


class NotPlain(ValueError):
    """The file holds more than tensors and plain containers, or more than its size can hold."""


def load_plain(path: Path) -> Any:
    """Return what a file of torch holds, on the CPU, without running anything that it may carry.

    Raises:
        Damaged: it is cut off, or of another kind.
        NotPlain: it names functions or classes, or unfolds to more than its own size.
    """
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    try:
        if zipped:
            with zipfile.ZipFile(path) as archive:  # torch compresses nothing
                unfolded = sum(entry.file_size for entry in archive.infolist())
            if unfolded > path.stat().st_size:
                raise NotPlain(f"{path} is refused: its {path.stat().st_size} bytes unfold to {unfolded}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that torch did not write
            return torch.load(path, map_location="cpu", weights_only=True)
    except NotPlain:
        raise
    except Exception as error:  # a damaged file can make the reader raise nearly anything
        if named := _named(str(error)):
            raise NotPlain(
                f"{path} is refused: it holds more than tensors and plain containers ({named}), and loading "
                "that could run code"
            ) from None
        raise Damaged(f"{path} cannot be read: it is cut off, damaged or no file of tensors") from None


def other_kind(path: Path) -> str | None:
    """Say what a file is that came in place of weights, and what to do; None where it may be weights."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if not path.stat().st_size:
        return "is empty: get it again"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself: get it with git lfs pull"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not weights: get the file itself"
    return None


def odd_tensor(state: object, *, bytes: int) -> str | None:
    """Say what is not a plain tensor by name in a state dict, or more than a file of so many bytes holds."""
    if not isinstance(state, dict):
        return "it is no state dict"
    for name, tensor in state.items():
        if not isinstance(name, str):
            return f"the name {str(name)[:40]!r} is no text"
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            return f"{name} is no plain tensor"
        if tensor.is_quantized or tensor.is_complex():
            return f"{name} is of {tensor.dtype}"
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            return f"{name} stands for more values than it holds"
    return "its tensors stand for more bytes than the file has" if size_of(state) > bytes else None


def size_of(state: dict[str, Tensor]) -> int:
    """Return how many bytes the tensors hold; what several share counts once."""
    storages = [tensor.untyped_storage() for tensor in state.values()]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _named(message: str) -> str | None:
    """Return the function or class that a file names, out of torch's message."""
    found = CODE.search(message) if "nsupported" in message else None
    return found[1] if found else ("a function or class" if "Unsupported global" in message else None)
