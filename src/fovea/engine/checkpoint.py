"""Load checkpoints safely: plain tensors and containers, read against a schema, and the network they fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from fovea import errors
from fovea.config import build
from fovea.config.offline import without_weights
from fovea.engine import checkpoint_schema
from fovea.errors import UsageError
from fovea.ops.tensor_file import Damaged, NotPlain, load_plain, size_of

PREFIX = "net."  # of the network's tensors among those of the task
SPARE_BYTES, SPARE_MODULES = 2**28, 20_000  # beyond what a network's own tensors explain


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running anything that it may carry."""
    if not path.is_file():
        raise UsageError(f"there is no checkpoint {path}{_others(path)}")
    try:
        checkpoint = load_plain(path)
    except NotPlain as error:
        raise UsageError(f"{error}. Only load checkpoints that this suite wrote") from None
    except Damaged as error:
        raise UsageError(f"{error}{_other(path)}") from None
    checkpoint_schema.check(checkpoint, path)
    return checkpoint


def rebuild(checkpoint: dict[str, Any], path: Path | str = "the checkpoint") -> nn.Module:
    """Build the network of a checkpoint and load its weights; nothing is downloaded."""
    net = network(checkpoint, config_of(checkpoint), path)
    try:
        net.load_state_dict(_state(checkpoint))
    except RuntimeError as error:
        raise UsageError(f"{path} does not load into its network ({_first_line(error)})") from None
    return net.eval()


def network(checkpoint: dict[str, Any], config: DictConfig, path: Path | str) -> nn.Module:
    """Build the network that fits the weights of a checkpoint; nothing is downloaded or loaded.

    Raises:
        UsageError: it cannot be built, is far larger than the weights, or has other tensors.
    """
    state = _state(checkpoint)
    try:
        with _no_larger_than(state):
            net = build.network(without_weights(config))
    except Exception as error:  # options of a wrong type can make a constructor raise anything
        what = " ".join(errors.explain(errors.root_cause(error)).split())
        raise UsageError(
            f"{path} is refused: the network of its config cannot be built ({what}). It is damaged or was "
            "edited: use another checkpoint"
        ) from None
    if what := _difference(net.state_dict(), state):
        raise UsageError(
            f"{path} does not hold the weights of its network: {what}. It is damaged or was edited: use "
            "another checkpoint, or give the weights alone by model.checkpoint=FILE"
        )
    return net


def config_of(checkpoint: dict[str, Any]) -> DictConfig:
    """Return the resolved config that a checkpoint carries."""
    return OmegaConf.create(checkpoint["fovea"]["config"])


def _state(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    tensors = checkpoint["state_dict"].items()
    return {name.removeprefix(PREFIX): value for name, value in tensors if name.startswith(PREFIX)}


@contextmanager
def _no_larger_than(state: dict[str, Tensor]) -> Iterator[None]:
    """Stop the building of a network that outgrows its weights, before its memory is touched.

    Some networks build others on the way, to take over their values: hence several times the size.
    """
    left = {"bytes": 8 * size_of(state) + SPARE_BYTES, "modules": 50 * len(state) + SPARE_MODULES}

    def count(module: nn.Module, name: str, value: Any) -> None:
        if isinstance(value, nn.Module):
            left["modules"] -= 1
        elif isinstance(value, Tensor) and value.device.type != "meta":
            left["bytes"] -= value.numel() * value.element_size()
        if min(left.values()) < 0:
            raise UsageError("it is far larger than the weights")

    handles = [
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_buffer_registration_hook(count),
        hooks.register_module_module_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _difference(own: dict[str, Any], state: dict[str, Tensor]) -> str:
    """Say how tensors differ in names or shapes from those that a network has; empty where they don't."""
    found = [f"it lacks {name}" for name in own if name not in state][:1]
    found += [f"{name} is none of its tensors" for name in state if name not in own][:1]
    for name in own.keys() & state.keys():
        if tuple(own[name].shape) != tuple(state[name].shape):
            sizes = f"{list(state[name].shape)}, the network's {list(own[name].shape)}"
            return "; ".join([*found, f"{name} is {sizes}"])
    return "; ".join(found)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]


def _other(path: Path) -> str:
    """Name the checkpoint beside a damaged one that still reads."""
    for name in ("best", "last"):
        other = path.with_name(f"{name}.ckpt")
        if other.name == path.name or not other.is_file():
            continue
        try:
            load_plain(other)
        except (ValueError, OSError):
            continue
        use = f"use it with checkpoint={name}, or copy it over {path.name} to continue from it"
        return f". {other} is intact: {use}"
    return "; delete it and start a new run" if path.name in ("best.ckpt", "last.ckpt") else ""


def _others(path: Path) -> str:
    found = sorted(p.name for p in path.parent.glob("*.ckpt") if p.is_file())
    return f"; found: {', '.join(found)}" if found else ": the run wrote none"
