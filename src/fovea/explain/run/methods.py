"""The methods of a call, at their layers, and which of them an architecture can give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from fovea import errors
from fovea.errors import UsageError
from fovea.explain.core.method import Method
from fovea.explain.core.targets import Target
from fovea.models.hooks import record

ENOUGH = 24  # images through the net: more than it takes to find and to try a layer


@dataclass(frozen=True, kw_only=True)
class LayerMethod:
    """A method that gives maps, at one layer.

    Attributes:
        layer: where several are asked for.
        path: the module that the user named, None where the method chooses.
    """

    name: str
    call: Method
    layer: str | None = None
    path: str | None = None

    @property
    def key(self) -> str:
        """Its name among the methods of a call, and in the names of files."""
        return self.name if self.layer is None else f"{self.name}__{self.layer}"


def check_layers(methods: Sequence[LayerMethod], nets: Sequence[nn.Module]) -> None:
    """Refuse a layer that none of the nets has, with those near it."""
    for path in dict.fromkeys(method.path for method in methods if method.path is not None):
        problems = []
        for net in nets:
            try:
                with record(net, path):
                    break
            except ValueError as error:
                problems.append(str(error))
        else:
            raise UsageError(f"layer={path}: {'; '.join(problems)}")


def possible(
    methods: Mapping[str, Method], net: nn.Module, image: Tensor, target: Target | None = None
) -> list[str]:
    """Name the methods that give maps of this net, by trying each on one image (1, C, H, W)."""
    return [name for name, method in methods.items() if _gives(method, net, image, target)]


class _Enough(Exception):
    """Ends the trial of a method that has run the net often enough to show that it works."""


def _gives(method: Method, net: nn.Module, image: Tensor, target: Target | None) -> bool:
    images = 0

    def count(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        nonlocal images
        images += len(args[0])
        if images > ENOUGH:
            raise _Enough

    hook = net.register_forward_pre_hook(count)
    try:
        found = method(net, image, target)
        return found.shape == (1, *image.shape[2:]) and bool(found.isfinite().all())
    except _Enough:
        return True
    except Exception:  # the question is only whether it can be had
        return False
    finally:
        hook.remove()


def reason(error: Exception) -> str:
    """Return in one line why a method gave no map."""
    cause = errors.root_cause(error)
    text = str(cause).strip()
    first = text.splitlines()[0] if text else type(cause).__name__
    return first if isinstance(cause, ValueError) else f"{type(cause).__name__}: {first}"
