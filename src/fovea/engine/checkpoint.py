"""Load checkpoints safely: plain tensors and containers, and a config that calls only known parts."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fovea.config.cli import PACKAGES, RESULTS, WHITELIST
from fovea.errors import UsageError

# What a network may be built from; and what no config out of a checkpoint may call, whitelisted or not: it
# fetches, reads or writes files that the caller names.
NETS = [
    *PACKAGES,
    "fovea.models.*",
    "fovea.ops.*",
    "torch.nn.*",
    "torchvision.models.*",
    "timm.layers.*",
    "segmentation_models_pytorch.*",
]
FILES = (
    "fovea.models._",
    "albumentations.core.serialization.",
    "segmentation_models_pytorch.from_pretrained",
)


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
    refuse_foreign(about["config"], source=path)
    return checkpoint


def refuse_foreign(config: object, *, source: Path | str, at: str = "") -> None:
    """Raise, before any of it is used, when a config calls what is not whitelisted or looks anything up."""
    if isinstance(config, dict):
        if "_target_" in config and not _allowed(config["_target_"]):
            _refuse(source, f"call {config['_target_']!r}", at)
        if "_execution_whitelist_" in config:
            _refuse(source, "say itself what may be called", at)
        for key, value in config.items():
            refuse_foreign(value, source=source, at=f"{at}.{key}" if at else str(key))
    elif isinstance(config, list | tuple):
        for i, value in enumerate(config):
            refuse_foreign(value, source=source, at=f"{at}[{i}]")
    elif isinstance(config, str) and "${" in config:
        _refuse(source, f"evaluate {config!r}", at)


def _refuse(source: Path | str, what: str, at: str) -> None:
    raise UsageError(
        f"{source} is refused: its config would {what} at {at or 'its root'}, which no config of this suite "
        "does. Only load checkpoints that this suite wrote"
    )


def rebuild(checkpoint: dict[str, Any]) -> torch.nn.Module:
    """Build the network of a checkpoint and load its weights; nothing is downloaded."""
    config = config_of(checkpoint)
    try:
        net = instantiate(
            offline_model(config).model.net, _convert_="all", _execution_whitelist_=[*NETS, *RESULTS]
        )
    except InstantiationException as error:
        if "whitelist" not in str(error):
            raise
        raise UsageError(f"the checkpoint is refused: {str(error).splitlines()[0]}") from None
    prefix = "net."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    net.load_state_dict(state)
    return net.eval()


def config_of(checkpoint: dict[str, Any]) -> DictConfig:
    """Return the resolved config that a checkpoint carries."""
    return OmegaConf.create(checkpoint["fovea"]["config"])


def offline_model(config: DictConfig) -> DictConfig:
    """Return the config with pretrained weights switched off, for a network whose weights are at hand."""
    config = config.copy()
    for node in (config.model, config.model.net):
        for key, off in (("pretrained", False), ("checkpoint", None)):
            if key in node:
                node[key] = off
    return config


def _allowed(target: object) -> bool:
    """Whether a target is on the whitelist and defined in its module, not imported there.

    A name that a module imported directly passes here; Hydra checks the object itself and refuses that.
    """
    if not isinstance(target, str) or target.startswith(FILES):
        return False
    if not any(target.startswith(p[:-1]) if p.endswith(".*") else target == p for p in WHITELIST):
        return False
    parts = target.split(".")
    spec = importlib.util.find_spec(parts[0])  # of a top-level package: found, not imported
    folder = Path((spec.submodule_search_locations or [""])[0] if spec else "")
    rest = parts[1:]
    while len(rest) > 1 and (folder / rest[0]).is_dir():
        folder, rest = folder / rest[0], rest[1:]
    if len(rest) > 1 and (folder / f"{rest[0]}.py").is_file():
        rest = rest[1:]
    return len(rest) == 1 and not rest[0].startswith("_")


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
