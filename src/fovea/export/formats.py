"""Write a network into a file that other programs load: ONNX, TorchScript, torch.export."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fovea.config.overrides import nearest
from fovea.errors import UsageError

log = logging.getLogger(__name__)


class ExportError(ValueError):
    """The network cannot be written in this format, or the file does not compute what the network does."""


@dataclass(frozen=True)
class Format:
    """A file format: `write(net, x, path, names, opset)` returns facts about the file."""

    name: str
    file: str
    write: Callable[[nn.Module, Tensor, Path, list[str], int | None], dict[str, Any]]
    packages: tuple[str, ...] = ()


class Flat(nn.Module):
    """Return the outputs of a network as one flat dict, which every format can hold."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (B, C, H, W) to the named outputs."""
        return leaves(self.net(x))


def leaves(output: object, name: str = "") -> dict[str, Tensor]:
    """Name every tensor of an output: `output` where it is one, else by its keys and places.

    Raises:
        ExportError: there is something else among them.
    """
    if isinstance(output, Tensor):
        return {name or "output": output}
    if isinstance(output, Mapping):
        parts = [(str(key), value) for key, value in output.items()]
    elif isinstance(output, tuple | list):
        parts = [(str(i) if name else f"output_{i}", value) for i, value in enumerate(output)]
    else:
        raise ExportError(
            f"the network gives {type(output).__name__}{f' as {name}' if name else ''}; only tensors, and "
            "dicts, tuples and lists of them can be exported"
        )
    return {k: v for key, value in parts for k, v in leaves(value, f"{name}_{key}" if name else key).items()}


def choose(name: object) -> Format:
    """Return the format of this name; UsageError where there is none, or a package for it is missing."""
    if name not in FORMATS:
        near = nearest(name, list(FORMATS), n=1) if isinstance(name, str) else []
        hint = f"; nearest: {near[0]}" if near else ""
        raise UsageError(f"format is {name!r}{hint}; allowed: {', '.join(FORMATS)}")
    missing = [p for p in FORMATS[name].packages if importlib.util.find_spec(p) is None]
    if missing:
        raise UsageError(
            f"format={name} needs packages that are not installed: pip install {' '.join(missing)}"
        )
    return FORMATS[name]


def write(form: Format, net: nn.Module, x: Tensor, path: Path, *, opset: int | None) -> dict[str, Any]:
    """Write the network, and return facts about the file; `x` is a batch of inputs.

    Raises:
        ExportError: the network does what the format cannot hold.
    """
    with torch.no_grad():
        output = net(x)
        names = list(leaves(output))
        plain = net if isinstance(output, Tensor) else Flat(net).eval()
        try:
            with quiet():
                return form.write(plain, x, path, names, opset)
        except ExportError:
            raise
        except Exception as error:  # exporters fail in many ways, nearly all of them about the network
            if isinstance(fault := _first_cause(error), OSError) and fault.errno is not None:
                raise fault from None
            others = " or ".join(f"format={other}" for other in FORMATS if other != form.name)
            raise ExportError(
                f"the network cannot be written as {form.name}: {reason(error)}\n  try {others}; "
                "FOVEA_TRACEBACK=1 shows where in the network"
            ) from error


def reason(error: BaseException) -> str:
    """Return the first line of the first cause; TorchScript puts it last, below the code."""
    error = _first_cause(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and "TorchScript" in lines[0]:
        return lines[-1]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' own messages from the terminal; what goes wrong comes as an exception."""
    before, sink = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _program(net: nn.Module, x: Tensor) -> torch.export.ExportedProgram:
    """Return the graph of the network for any number of images."""
    anyhow = ({0: torch.export.Dim("batch", min=1)},)
    try:
        return torch.export.export(net, (x,), dynamic_shapes=anyhow)
    except Exception as error:
        try:  # slower, but it reads the code: len(x) is no constant there
            return torch.export.export(net, (x,), dynamic_shapes=anyhow, strict=True)
        except Exception:
            raise error from None


def _onnx(net: nn.Module, x: Tensor, path: Path, names: list[str], opset: int | None) -> dict[str, Any]:
    import onnx

    from fovea.export.onnx_ops import TABLE

    torch.onnx.export(
        _program(net, x), (), str(path), input_names=["image"], output_names=names, opset_version=opset,
        external_data=False, verbose=False, custom_translation_table=TABLE,
    )  # fmt: skip
    found = {entry.domain: entry.version for entry in onnx.load(path).opset_import}
    if opset is not None and found.get("") != opset:  # a conversion that fails leaves the exporter's own
        raise ExportError(
            f"this network cannot be exported with opset={opset}, only in opset={found.get('')}"
        )
    return {"opset": found.get("")}


def _torchscript(
    net: nn.Module, x: Tensor, path: Path, names: list[str], opset: int | None
) -> dict[str, Any]:
    # strict=False lets dicts out; the parity gate checks more than the tracer's own check
    content = io.BytesIO()  # where its own writer finds no room on a disk, it ends the whole process
    torch.jit.save(torch.jit.trace(net, x, check_trace=False, strict=False), content)
    path.write_bytes(content.getbuffer())
    return {"note": "PyTorch calls TorchScript deprecated: torch_export is its successor"}


def _torch_export(
    net: nn.Module, x: Tensor, path: Path, names: list[str], opset: int | None
) -> dict[str, Any]:
    content = io.BytesIO()
    torch.export.save(_program(net, x), content)
    path.write_bytes(content.getbuffer())
    return {}


FORMATS = {
    form.name: form
    for form in (
        Format("onnx", "model.onnx", _onnx, ("onnx", "onnxruntime", "onnxscript")),
        Format("torchscript", "model.pt", _torchscript),
        Format("torch_export", "model.pt2", _torch_export),
    )
}
