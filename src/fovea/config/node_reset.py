"""Replace a node that the command line gives whole, where Hydra would merge it with the one that is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import OmegaConf

from fovea.config.groups import REFUSALS, composing
from fovea.config.overrides import CommandLine, quote
from fovea.config.signatures import arguments
from fovea.config.values import at


def with_whole_nodes(argv: list[str], line: CommandLine, *, conf: Path) -> list[str]:
    """Return `argv` with what of an old node is not in the one that it gives deleted.

    A node says with `_target_` what it builds: `model.net={_target_:…}` is meant instead of the old one, and
    the old one's options would be unknown to the new.
    """
    whole = {
        str(o.input_line): (o.key_or_group, node)
        for o in line.overrides
        if not o.is_delete() and isinstance(node := o.value(), dict) and "_target_" in node
    }
    other = {
        o.key_or_group.removesuffix("._target_"): str(o.value())
        for o in line.overrides
        if o.key_or_group.endswith("._target_") and not o.is_delete() and not o.is_sweep_override()
    }
    if not whole and not other:
        return argv
    others = [str(o.input_line) for o in line.overrides if o.input_line not in whole]
    try:
        with composing(conf):
            before = compose("train", others)
    except REFUSALS:  # Hydra will say it of the whole command line
        return argv
    gone = []
    for key, value in whole.values():
        old = OmegaConf.select(before, key)
        plain = OmegaConf.to_container(old, resolve=False) if OmegaConf.is_dict(old) else {}
        gone += [f"~{path}" for path in _lacking(plain, value, key) if not line.given(path)]
    for key, target in other.items():
        old = OmegaConf.select(before, key)
        names = [str(name) for name in old] if OmegaConf.is_dict(old) else []
        gone += [f"~{key}.{name}" for name in _not_taken(names, target) if not line.given(f"{key}.{name}")]
    # ++ as its options are those of another class
    return [*(f"++{word.lstrip('+')}" if word in whole else word for word in argv), *gone]


def _not_taken(names: list[str], target: str) -> list[str]:
    """Return the options of another class that a class does not take, and say that they are left out."""
    takes = arguments(target)
    if takes is None or takes.others:
        return []
    gone = [name for name in names if not name.startswith("_") and name not in takes.types]
    if gone:
        sys.stderr.write(f"{target} does not take {', '.join(gone)}, which is left out\n")
    return gone


def with_deleted_values(argv: list[str], line: CommandLine, *, conf: Path) -> list[str]:
    """Return `argv` with `~KEY` written `~KEY=VALUE`: in a sweep Hydra takes the first for `~KEY=null`."""
    bare = {str(o.input_line): o.key_or_group for o in line.overrides if o.is_delete() and o.value() is None}
    if not bare:
        return argv
    single = [o for o in line.overrides if o.input_line not in bare and not o.is_sweep_override()]
    try:
        with composing(conf):
            before = compose("train", [str(o.input_line) for o in single])
    except REFUSALS:
        return argv
    plain: Any = OmegaConf.to_container(before, resolve=False)
    return [f"{word}={quote(at(plain, bare[word]))}" if word in bare else word for word in argv]


def _lacking(old: Any, new: Any, at: str) -> Iterator[str]:
    """Yield the paths of `old` that `new` has not."""
    names = {str(key): value for key, value in new.items()}
    for key, value in old.items():
        if key not in names:
            yield f"{at}.{key}"
        elif isinstance(value, dict) and isinstance(names[key], dict):
            yield from _lacking(value, names[key], f"{at}.{key}")
