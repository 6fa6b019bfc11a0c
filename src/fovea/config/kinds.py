"""Compare the values of a config with the types that signatures give them: the signature is the schema."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
import typing
from collections import abc
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SEQUENCES = (abc.Sequence, abc.Iterable, abc.Collection, list, tuple)
MAPPINGS = (abc.Mapping, dict)
PLAIN: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    str: (str, int, float),  # a name of digits is read as a number
    Path: (str,),
    type(None): (type(None),),
}
WORDS: dict[Any, str] = {
    bool: "true or false", int: "an integer", float: "a number", str: "a text", Path: "a path",
    type(None): "null", dict: "a mapping: {a:1}", abc.Mapping: "a mapping: {a:1}",
}  # fmt: skip


@cache
def options_of(target: str) -> dict[str, Any]:
    """Return the options by name of what a config calls, each with its type as far as it is said."""
    module, _, name = target.rpartition(".")
    made = getattr(importlib.import_module(module), name)
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = [p for p in inspect.signature(made).parameters.values() if p.kind in kinds]
    return {p.name: _evaluated(p.annotation, sys.modules[made.__module__]) for p in found}


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value may be one of a type; what is no plain type is left to the constructor."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is typing.Literal:
        return value in inner
    if hint is bool:
        return isinstance(value, bool)
    if hint in PLAIN:
        return isinstance(value, PLAIN[hint]) and not isinstance(value, bool)
    if origin is tuple and ... not in inner:
        right = isinstance(value, list | tuple) and len(value) == len(inner)
        return right and all(fits(value[i], inner[i]) for i in range(len(inner)))
    if (origin or hint) in SEQUENCES:
        element = inner[0] if inner else Any
        return isinstance(value, list | tuple) and all(fits(one, element) for one in value)
    if (origin or hint) in MAPPINGS:
        return isinstance(value, dict)
    return True


def in_words(hint: Any) -> str:
    """Say what a type allows, as a user types it on a command line."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        words = [in_words(one) for one in inner]
        return " or ".join(dict.fromkeys([w for w in words if w != "null"] + ["null"] * ("null" in words)))
    if origin is typing.Literal:
        return ", ".join("null" if one is None else str(one) for one in inner)
    if origin is tuple and ... not in inner:
        return f"a list of {len(inner)}: [{','.join(in_words(one) for one in inner)}]"
    if (origin or hint) in SEQUENCES:
        element = in_words(inner[0]) if inner else ""
        return f"a list, each {element}" if element else "a list: [a,b]"
    return WORDS.get(origin or hint, "")


def described(hint: Any) -> str:
    """Write a type as its signature does."""
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _evaluated(annotation: Any, module: types.ModuleType) -> Any:
    if annotation is inspect.Parameter.empty or annotation is None:
        return Any
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, globalns=vars(module))["it"]
    except (NameError, TypeError, AttributeError, SyntaxError):  # imported for the type checker alone
        return Any
