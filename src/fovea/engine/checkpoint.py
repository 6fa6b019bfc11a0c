"""Load checkpoints safely: plain tensors and containers, and a config that has passed the gate."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from fovea.config import build, gate
from fovea.config.offline import without_weights
from fovea.errors import UsageError


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running anything that it may carry."""
    if not path.is_file():
        raise UsageError(f"there is no checkpoint {path}{_others(path)}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} is refused: it holds more than tensors and plain containers, and loading it could run "
            f"code ({str(error).splitlines()[0]}). Only load checkpoints that this suite wrote"
        ) from None
    except (RuntimeError, EOFError, OSError):
        raise UsageError(
            f"{path} cannot be read: it is cut off, damaged or no checkpoint{_other(path)}"
        ) from None
    about = checkpoint.get("fovea") if isinstance(checkpoint, dict) else None
    if not isinstance(about, dict) or not isinstance(about.get("config"), dict):
        raise UsageError(f"{path} was not written by this suite: it has no 'fovea' entry with the config")
    gate.check(about["config"], source=path)
    return checkpoint


def rebuild(checkpoint: dict[str, Any]) -> torch.nn.Module:
    """Build the network of a checkpoint and load its weights; nothing is downloaded."""
    net = build.network(without_weights(config_of(checkpoint)))
    prefix = "net."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    net.load_state_dict(state)
    return net.eval()


def config_of(checkpoint: dict[str, Any]) -> DictConfig:
    """Return the resolved config that a checkpoint carries."""
    return OmegaConf.create(checkpoint["fovea"]["config"])


def _other(path: Path) -> str:
    """Name the checkpoint beside a damaged one that still reads."""
    for name in ("best", "last"):
        other = path.with_name(f"{name}.ckpt")
        if other.name == path.name or not other.is_file():
            continue
        try:
            torch.load(other, map_location="cpu", weights_only=True)
        except Exception:
            continue
        use = f"use it with checkpoint={name}, or copy it over {path.name} to continue from it"
        return f". {other} is intact: {use}"
    return "; delete it and start a new run" if path.name in ("best.ckpt", "last.ckpt") else ""


def _others(path: Path) -> str:
    found = sorted(p.name for p in path.parent.glob("*.ckpt"))
    return f"; found: {', '.join(found)}" if found else ": the run wrote none"
