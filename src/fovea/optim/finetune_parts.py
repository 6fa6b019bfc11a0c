"""Find the head, the layers and the frozen modules of a net."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn


def parameter_names(net: nn.Module, prefixes: Iterable[str]) -> set[str]:
    """Return the names of the parameters under the modules (or equal to the names) in `prefixes`."""
    starts = tuple(prefixes)
    return {n for n, _ in net.named_parameters() if any(n == s or n.startswith(f"{s}.") for s in starts)}


def head_parameters(net: nn.Module, head: Sequence[str] = ()) -> set[str]:
    """Return the names of the classifier's parameters.

    The classifier is what `head` names, else what timm's `get_classifier()` returns, else the last direct
    child that has parameters.
    """
    if head:
        unknown = [prefix for prefix in head if not parameter_names(net, [prefix])]
        if unknown:
            children = [name for name, _ in net.named_children()]
            raise ValueError(
                f"finetune.head={unknown} has no parameters in the net; its children are {children}"
            )
        return parameter_names(net, head)
    found = parameter_names(net, classifier_names(net))
    if found:
        return found
    children = [name for name, child in net.named_children() if any(True for _ in child.parameters())]
    return parameter_names(net, children[-1:])


def matching(net: nn.Module, patterns: Sequence[str]) -> set[str]:
    """Return the names of the parameters that match any pattern (`net.head.*`); without patterns all."""
    names = {name for name, _ in net.named_parameters()}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            tops = sorted({".".join(name.split(".")[:-1][:2]) for name in names})
            raise ValueError(
                f"finetune.trainable_names={pattern} matches no parameter; names begin with "
                f"{', '.join(tops[:12])}"
            )
    return {n for n in names if not patterns or any(fnmatchcase(n, pattern) for pattern in patterns)}


def classifier_names(net: nn.Module) -> list[str]:
    """Return the paths of the modules that the net calls its classifier."""
    get = getattr(net, "get_classifier", None)
    found = get() if callable(get) else ()
    heads = {id(m) for m in (found if isinstance(found, (tuple, list)) else (found,))}
    return [name for name, module in net.named_modules() if name and id(module) in heads]


def layer_ids(net: nn.Module, *, coarse: bool) -> dict[str, int]:
    """Number the parameters' layers (`coarse`: stages) from the input, 0, up to the head.

    The layers are those of timm's `group_matcher`; without it each direct child is one, and parameters of
    the net itself (a class token) belong to the first.
    """
    matcher = getattr(net, "group_matcher", None)
    if callable(matcher):
        from timm.models import group_parameters

        return group_parameters(net, matcher(coarse=coarse), reverse=True)
    children = [name for name, child in net.named_children() if any(True for _ in child.parameters())]
    order = {name: position for position, name in enumerate(children)}
    return {n: order[n.split(".")[0]] if "." in n else 0 for n, _ in net.named_parameters()}


def backbone_stages(net: nn.Module, head: set[str]) -> list[set[str]]:
    """Return the parameter names of each stage below the head, the input's first.

    What shares the head's own stage (a final norm) joins the stage beneath it.
    """
    layers = layer_ids(net, coarse=True)
    ids = {n: i for n, i in layers.items() if n not in head}
    top = min((i for n, i in layers.items() if n in head), default=0)
    below = sorted({i for i in ids.values() if i < top}) or sorted(set(ids.values()))
    stages: dict[int, set[str]] = {i: set() for i in below}
    for name, i in ids.items():
        stages[i if i in stages else below[-1]].add(name)
    return list(stages.values())


def frozen_modules(net: nn.Module, trainable: set[str]) -> list[nn.Module]:
    """Return the modules to hold in eval mode: all parameters in them are frozen.

    A module without parameters counts with its neighbours: dropout or pooling with what it feeds, running
    statistics (a norm without weights) with what feeds them.
    """
    names = [n for n, _ in net.named_parameters(remove_duplicate=False)]
    if names and not trainable.intersection(names):
        return list(net.modules())
    return _frozen(net, "", {n: n in trainable for n in names})


def _frozen(module: nn.Module, prefix: str, state: dict[str, bool]) -> list[nn.Module]:
    children = [(child, f"{prefix}{name}.") for name, child in module.named_children()]
    flags = [[learns for name, learns in state.items() if name.startswith(start)] for _, start in children]
    found: list[nn.Module] = []
    for i, (child, start) in enumerate(children):
        if not _near(child, flags[:i], flags[i], flags[i + 1 :]):
            found += child.modules()
        elif any(flags[i]):
            found += _frozen(child, start, state)
    return found


def _near(child: nn.Module, before: list[list[bool]], own: list[bool], after: list[list[bool]]) -> bool:
    """Return whether the module's own parameters, or else the nearest, train."""
    if own:
        return any(own)
    last = [flags[-1] for flags in reversed(before) if flags]
    first = [flags[0] for flags in after if flags]
    return [*(last + first if any(True for _ in child.buffers()) else first + last), True][0]
