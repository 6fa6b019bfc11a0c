"""Build the methods of a call, and find out which of them an architecture can give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea import errors
from fovea.config import build
from fovea.config.groups import member, members
from fovea.errors import UsageError

ENOUGH = 3  # forward passes after which a method that has not refused a net is one that takes it


@dataclass(frozen=True, kw_only=True)
class Way:
    """Hold one method that gives maps, at one layer.

    Attributes:
        layer: where several are asked for.
        path: the module that the user named, None where the method chooses.
    """

    name: str
    call: Any
    layer: str | None = None
    path: str | None = None

    @property
    def key(self) -> str:
        """Its name among the methods of a call, and in the names of files."""
        return self.name if self.layer is None else f"{self.name}__{self.layer}"


def make(config: DictConfig) -> tuple[list[Way], dict[str, Any]]:
    """Return the methods that give maps, one for each layer asked for, and the studies by their names."""
    from fovea.explain.studies.base import Study

    nodes = config.get("method") or {}
    if not nodes:
        raise UsageError(f"method= is missing: say one or more of {', '.join(members('method'))}")
    ways: list[Way] = []
    studies: dict[str, Any] = {}
    for name, node in nodes.items():
        options: Any = OmegaConf.to_container(node, resolve=True)
        layers: Any = options.get("layer")
        several = isinstance(layers, list)
        for layer in layers if several else [layers]:
            made = build.make(options | {"layer": layer} if several else options)
            if isinstance(made, Study):
                studies[str(name)] = made
                break
            path = layer if isinstance(layer, str) else None
            ways.append(Way(name=str(name), call=made, layer=str(layer) if several else None, path=path))
    return ways, studies


def check_layers(ways: Sequence[Way], nets: Sequence[Any]) -> None:
    """Refuse a layer that none of the nets has, with those near it."""
    from fovea.explain.core.hooks import record

    for path in dict.fromkeys(way.path for way in ways if way.path is not None):
        problems = []
        for net in nets:
            try:
                with record(net, path):
                    break
            except KeyError as error:
                problems.append(str(error.args[0]))
        else:
            raise UsageError(f"layer={path}: {'; '.join(problems)}")


def possible(net: Any, image: Any, target: Any = None) -> list[str]:
    """Name the methods of the group that give maps of this net, by trying each on one image (1, C, H, W)."""
    return [name for name in members("method") if _gives(name, net, image, target)]


class _Enough(Exception):
    """A method has run the net often enough to show that it takes it."""


def _gives(name: str, net: Any, image: Any, target: Any) -> bool:
    from fovea.explain.studies.base import Study

    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1
        if passes > ENOUGH:
            raise _Enough

    hook = None
    try:
        node = OmegaConf.create({"layer": None, "method": {name: member("method", name)}})
        method = build.make(OmegaConf.to_container(node.method[name], resolve=True))
        if isinstance(method, Study):
            return False
        hook = net.register_forward_pre_hook(count)
        method(net, image, target)
        return True
    except _Enough:
        return True
    except Exception:  # the question is only whether it can be had
        return False
    finally:
        if hook is not None:
            hook.remove()


def reason(error: Exception) -> str:
    """Say in one line why a method gave nothing."""
    cause = errors.root_cause(error)
    text = str(cause.args[0] if isinstance(cause, KeyError) and cause.args else cause).strip()
    first = text.splitlines()[0] if text else type(cause).__name__
    return first if isinstance(cause, ValueError | KeyError) else f"{type(cause).__name__}: {first}"
