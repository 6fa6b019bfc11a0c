"""Load a checkpoint into a network, or say exactly what does not fit."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from torch import Tensor, nn

from fovea.models.weights_file import State, read_state
from fovea.ops.finite import first_not_finite

log = logging.getLogger(__name__)

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


def adapt_first_conv(state: State, *, layer: str, in_channels: int) -> State:
    """Sum or repeat the colours that the convolution `layer` sees, as timm does, to fit `in_channels`."""
    from timm.models import adapt_input_conv

    weight = state.get(f"{layer}.weight")
    if weight is None or weight.ndim != 4 or weight.shape[1] != 3 or in_channels == 3:
        return state
    return {**state, f"{layer}.weight": adapt_input_conv(in_channels, weight)}


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
