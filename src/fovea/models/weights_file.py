"""Read a file of weights: tensors by name, without running any code from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fovea.ops.tensor_file import load_plain, odd_tensor, other_kind

State = dict[str, Tensor]
CONTAINERS = (  # the averaged weights first
    "state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model_state_dict", "model", "net",
)  # fmt: skip
SHOWN = 5  # keys in a message


def read_state(path: str | Path) -> State:
    """Read tensors by name from .safetensors or a torch file, without running any code from it."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: set model.checkpoint to a file, or to null")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = _read_torch(path)
    while inner := next((content[k] for k in CONTAINERS if _holds_tensors(content.get(k))), None):
        content = inner
    state = {k: v for k, v in content.items() if isinstance(v, Tensor)}
    if odd := odd_tensor(state, bytes=path.stat().st_size):
        raise ValueError(f"{path} is refused: {odd}; give a file with the state_dict of a net")
    if not state:
        raise ValueError(
            f"{path} holds no tensors (keys: {list(content)[:SHOWN]}): give a file with a state_dict"
        )
    return _strip(state)


def holds(path: str | Path, part: str) -> bool:
    """Return whether a file has tensors of the module `part`, whatever their names begin with."""
    return any(f".{part}." in f".{name}" for name in read_state(path))


def saved_classes(path: str, heads: Iterable[str]) -> set[int]:
    """Return how many outputs the modules `heads` have in a file, whatever its names begin with."""
    ends = tuple(f".{head}.{kind}" for head in heads for kind in ("weight", "bias"))
    return {len(v) for k, v in read_state(path).items() if f".{k}".endswith(ends) and v.ndim}


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return _strip(load_file(path))
    except SafetensorError as error:
        what = other_kind(path) or f"cannot be read as .safetensors ({error}): get it again"
        raise ValueError(f"{path} {what}") from None


def _read_torch(path: Path) -> Mapping[str, Any]:
    if other := other_kind(path):
        raise ValueError(f"{path} {other}")
    try:
        content = load_plain(path)
    except ValueError as error:
        raise ValueError(
            f"{error}: save net.state_dict() with torch.save, or convert it to .safetensors"
        ) from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a state_dict: save net.state_dict()")
    return content


def _holds_tensors(content: Any) -> bool:
    if not isinstance(content, Mapping):
        return False
    inner = any(_holds_tensors(content.get(key)) for key in CONTAINERS)
    return inner or any(isinstance(value, Tensor) for value in content.values())


def _strip(state: State) -> State:
    """Drop what wrappers put before names; beside a task's `net.` stand its metrics, which are left out."""
    state = {k.replace("_orig_mod.", ""): v for k, v in state.items()}  # of compiled parts, too
    for prefix in ("module.", "net.", "module."):
        inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        state = inner or state
    return state
