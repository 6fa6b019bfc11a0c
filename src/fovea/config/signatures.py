"""Read from its source what a config may call: its arguments and their types. Nothing is imported."""

from __future__ import annotations

import ast
import typing
from collections import abc
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

Definition = ast.ClassDef | ast.FunctionDef
PLAIN = {
    "int": int, "float": float, "bool": bool, "str": str, "None": type(None), "Path": Path,
    "list": list, "tuple": tuple, "dict": dict, "Sequence": abc.Sequence, "Iterable": abc.Iterable,
    "Collection": abc.Collection, "Mapping": abc.Mapping,
}  # fmt: skip
DEPTH = 8  # of imports and base classes that are followed


@dataclass(frozen=True)
class Arguments:
    """The arguments by name, each with its type as far as it is plain; whether `others` are taken too.

    Those `needed` have no default.
    """

    types: dict[str, Any]
    others: bool
    needed: frozenset[str] = frozenset()


@cache
def arguments(target: str) -> Arguments | None:
    """Return the arguments of a class or function, those of its base classes where it passes them on."""
    module, _, name = target.rpartition(".")
    found = _definition(module, name, DEPTH)
    return None if found is None else _arguments(*found, DEPTH)


def built_around(key: str, plain: dict[str, Any]) -> tuple[str, str, dict[str, Any] | None]:
    """Return the path of the innermost node with a `_target_` around a key, the argument, the node."""
    parts = key.split(".")
    found: tuple[str, str, dict[str, Any] | None] = ("", key, None)
    node: Any = plain
    for i, part in enumerate(parts):
        if isinstance(node, dict) and "_target_" in node:
            found = (".".join(parts[:i]), part, node)
        node = node.get(part) if isinstance(node, dict) else None
    return found


@cache
def _file(module: str) -> Path | None:
    package, *parts = module.split(".")
    spec = PathFinder.find_spec(package)  # of a top-level package: finds it without running it
    for place in (spec.submodule_search_locations if spec else None) or ():
        base = Path(place, *parts)
        for file in (base / "__init__.py", base.parent / f"{base.name}.py"):
            if file.is_file():
                return file
    return None


@cache
def _statements(module: str) -> tuple[ast.stmt, ...]:
    file = _file(module)
    return () if file is None else tuple(ast.parse(file.read_text(encoding="utf-8")).body)


def _definition(module: str, name: str, depth: int) -> tuple[str, Definition] | None:
    """Return the class or function of a module, followed through imports, and the module that defines it."""
    for node in _statements(module):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and depth:
            for alias in node.names:
                if alias.name == "*" and (found := _definition(_source(module, node), name, depth - 1)):
                    return found
                if (alias.asname or alias.name) == name:
                    return _definition(_source(module, node), alias.name, depth - 1)
    return None


def _source(module: str, node: ast.ImportFrom) -> str:
    """Return the absolute name of the module that an import statement reads."""
    if not node.level:
        return node.module or ""
    file, parts = _file(module), module.split(".")
    up = node.level - (file is not None and file.name == "__init__.py")
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def _arguments(module: str, node: Definition, depth: int) -> Arguments:
    if isinstance(node, ast.FunctionDef):
        return _of_function(node)
    made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    own = _of_function(made[0]) if made else Arguments(_fields(node), True)
    if not own.others:
        return own
    types, others, needed = dict(own.types), False, own.needed
    for base in node.bases:
        found = _definition(module, base.id, depth - 1) if isinstance(base, ast.Name) and depth else None
        above = Arguments({}, True) if found is None else _arguments(*found, depth - 1)
        if not made:  # else what it passes on may fill them in
            needed |= above.needed - own.types.keys()
        types, others = {**above.types, **types}, others or above.others
    return Arguments(types, others, needed)


def _of_function(node: ast.FunctionDef) -> Arguments:
    args = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    types = {a.arg: _type(a.annotation) for a in args if a.arg not in ("self", "cls")}
    number = len(args) - len(node.args.kwonlyargs)
    optional = {a.arg for a in args[number - len(node.args.defaults) : number]}
    pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    optional |= {a.arg for a, default in pairs if default is not None}
    return Arguments(types, node.args.kwarg is not None, frozenset(types.keys() - optional))


def _fields(node: ast.ClassDef) -> dict[str, Any]:
    """Return the fields of a dataclass."""
    if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return {}
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
    return {ast.unparse(field.target): _type(field.annotation) for field in fields}


def _type(node: ast.expr | None) -> Any:
    """Return the type that an annotation writes; Any for one that is not made of plain types."""
    if isinstance(node, ast.Constant):
        return type(None) if node.value is None else _type(ast.parse(str(node.value), mode="eval").body)
    if isinstance(node, ast.BinOp):
        return _union([node.left, node.right])
    if isinstance(node, ast.Name):
        return PLAIN.get(node.id, Any)
    if not isinstance(node, ast.Subscript):
        return Any
    name = ast.unparse(node.value).rpartition(".")[2]
    inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        values = tuple(one.value for one in inner if isinstance(one, ast.Constant))
        return typing.Literal[values] if len(values) == len(inner) else Any
    if name in ("Union", "Optional"):
        return _union([*inner, *([ast.Constant(None)] if name == "Optional" else [])])
    parts = [... if ast.unparse(one) == "..." else _type(one) for one in inner]
    return typing.cast(Any, PLAIN[name])[tuple(parts)] if name in PLAIN else Any


def _union(nodes: list[ast.expr]) -> Any:
    # no config holds a tensor: beside a number, as optimizers take one, it is no other choice
    found = [_type(node) for node in nodes if ast.unparse(node).rpartition(".")[2] != "Tensor"]
    return Any if Any in found or not found else typing.Union[tuple(found)]  # noqa: UP007 - of a list
