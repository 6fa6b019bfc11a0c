"""Load a checkpoint into a network, or say exactly what does not fit."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fovea.ops.finite import first_not_finite
from fovea.ops.tensor_file import load_plain, odd_tensor, other_kind

log = logging.getLogger(__name__)

State = dict[str, Tensor]
CONTAINERS = (  # the averaged weights first
    "state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model_state_dict", "model", "net",
)  # fmt: skip
COUNTER = ".num_batches_tracked"  # files of old have none, and it plays no part in the output
SHOWN = 5


def load_weights(
    net: nn.Module,
    path: str | Path,
    *,
    head: Iterable[str] = (),
    prepare: Callable[[State], State] | None = None,
) -> set[str]:
    """Copy the checkpoint's tensors into `net`; return those left as they are, of a head for other classes.

    Of names the one beginning is dropped, such as `model.` or `backbone.`, without which most are the net's.

    `head` lists the modules that may differ in shape. `prepare` rewrites the tensors for this architecture
    (renames, resized embeddings) before they are compared.
    """
    own = net.state_dict()
    held = read_state(path)
    state = _without_prefix(held, own, path)
    if len(state) < len(held):
        _say_left_out(held, state, path)
    state = _prepared(state, prepare, path) if prepare else state
    resized = {k for k in own.keys() & state.keys() if own[k].shape != state[k].shape}
    skipped = {k for k in resized if k.startswith(tuple(f"{name}." for name in head))}
    problems = _problems(state, own, resized - skipped)
    if any(problems.values()):
        fits = len(own.keys() & state.keys()) - len(resized)
        raise ValueError(_complaint(path, problems, found=f"{fits} of its {len(own)} tensors are there"))
    _require_numbers(state, own, path)
    if skipped:
        log.warning(
            "%s: %s not loaded, as the number of classes differs; this head starts from random values",
            path,
            ", ".join(f"{k} {_shape(state[k])} -> {_shape(own[k])}" for k in sorted(skipped)),
        )
    net.load_state_dict({k: v for k, v in state.items() if k not in skipped}, strict=False)
    if name := first_not_finite(net):
        raise ValueError(f"{path}: {name} holds NaN or infinity: give weights from before they diverged")
    return skipped


def _problems(state: State, own: State, resized: set[str]) -> dict[str, list[str]]:
    return {
        "missing": sorted(k for k in own.keys() - state.keys() if not k.endswith(COUNTER)),
        "unexpected": sorted(state.keys() - own.keys()),
        "mismatched": [f"{k} {_shape(state[k])}, the net has {_shape(own[k])}" for k in sorted(resized)],
    }


def _require_numbers(state: State, own: State, path: str | Path) -> None:
    """Refuse integers that stand for other numbers, as those of quantised weights do."""
    names = [k for k in own.keys() & state.keys() if own[k].is_floating_point()]
    if whole := [k for k in names if not state[k].is_floating_point()]:
        raise ValueError(f"{path}: {min(whole)} holds integers, as quantised weights do: give floating point")


def _prepared(state: State, prepare: Callable[[State], State], path: str | Path) -> State:
    try:
        return prepare(state)
    except Exception as error:  # what is renamed or resized can have any shape
        raise ValueError(f"{path} does not fit this net: its tensors have other shapes ({error})") from error


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


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return _strip(load_file(path))
    except SafetensorError as error:
        what = other_kind(path) or f"cannot be read as .safetensors ({error}): get it again"
        raise ValueError(f"{path} {what}") from None


def adapt_first_conv(state: State, *, layer: str, in_channels: int) -> State:
    """Sum or repeat the colours that the convolution `layer` sees, as timm does, to fit `in_channels`."""
    from timm.models import adapt_input_conv

    weight = state.get(f"{layer}.weight")
    if weight is None or weight.ndim != 4 or weight.shape[1] != 3 or in_channels == 3:
        return state
    return {**state, f"{layer}.weight": adapt_input_conv(in_channels, weight)}


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


def _without_prefix(state: State, own: Iterable[str], path: str | Path) -> State:
    """Drop the beginning of names after which most of them are the net's `own`, with all that lacks it."""
    own = set(own)
    count = Counter(name[:end] for name in state for end in _beginnings(name) if name[end:] in own)
    (prefix, most), *others = count.most_common() or [("", 0)]
    if count[""] == most or 2 * most < len(own):
        return state
    if others and others[0][1] == most:
        raise ValueError(
            f"{path} holds several nets that fit, {prefix}* and {others[0][0]}*: save the state_dict of one"
        )
    return {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}


def _say_left_out(held: State, state: State, path: str | Path) -> None:
    taken = {id(tensor) for tensor in state.values()}
    others = [name for name, tensor in held.items() if id(tensor) not in taken]
    more = f" … and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    log.warning("%s: beside the net it holds %s%s, not loaded", path, ", ".join(others[:SHOWN]), more)


def _beginnings(name: str) -> tuple[int, ...]:
    return (0, *(i + 1 for i, letter in enumerate(name) if letter == "."))


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def _complaint(path: str | Path, problems: dict[str, list[str]], *, found: str) -> str:
    lines = [f"{path} does not fit this net, {found}:"]
    for kind, names in problems.items():
        more = f" … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines += [f"  {len(names)} {kind}: {', '.join(names[:SHOWN])}{more}"] if names else []
    return "\n".join(
        [*lines, "Set model.name (and its sizes) to the net that was saved, or model.checkpoint=null."]
    )
