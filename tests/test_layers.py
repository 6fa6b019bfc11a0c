"""Imports go down only, without circles, and what a file calls its own stays in it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
FLOORS = (  # from the ground up: a file imports from floors below its own, and from its own room
    ("types", "errors", "files", "reading"),
    ("ops",),
    ("page",),
    ("models", "scratch", "data", "metrics", "optim"),
    ("runs", "callbacks", "tasks.base"),
    ("explain", "compare", "predict", "inspect"),
    ("tasks",),
    ("config",),
    ("engine",),
    ("export", "sweep", "serve", "command"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
OPENS_RUNS = ("command", "open")  # in a folder for what one does with runs: the files that stand on top
MAY = {
    ("scratch", "models"),
    ("callbacks", "runs"),
    ("tasks.base", "callbacks"),
    ("sweep", "command"),
}  # on one floor
HYDRA = ("config", "engine", "export", "sweep", "serve", "command")
WITHOUT_TORCH = ("page", "runs", "types", "errors", "files", "reading")
HEAVY = ("torch", "torchvision", "torchmetrics", "lightning", "timm")


def names(tree: ast.AST) -> Iterator[str]:
    """Yield what is imported, with dots; of `from a import b` it is `a.b`, whether b is a module or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from (f"{dots}{node.module or ''}.{alias.name}" for alias in node.names)


class House:
    """The files of a package `fovea` below `src`, and what they import of each other."""

    def __init__(self, src: Path) -> None:
        self.files = {
            ".".join(f.relative_to(src).with_suffix("").parts).removesuffix(".__init__"): f
            for f in sorted((src / "fovea").rglob("*.py"))
        }
        self.trees = {module: ast.parse(f.read_text(encoding="utf-8")) for module, f in self.files.items()}
        self.imports = {module: list(names(tree)) for module, tree in self.trees.items()}

    def module(self, name: str) -> str | None:
        """Return the module that holds an imported name, itself or as one of its names."""
        return next((m for m in (name, name.rpartition(".")[0]) if m in self.files and m != "fovea"), None)

    def edges(self, module: str) -> list[str]:
        """Return the modules that one imports."""
        found = [self.module(name) for name in self.imports[module]]
        return sorted({other for other in found if other is not None and other != module})

    def room(self, module: str) -> str:
        """Return the room that a module belongs to: of a task its folder, else what FLOORS names."""
        first, *rest = module.split(".")[1:] or [""]
        if first == "tasks":
            return "tasks.base" if rest in ([], ["base"]) else f"tasks.{rest[0]}"
        opens = FLOOR.get(first) == FLOOR["explain"] and rest and rest[0] in OPENS_RUNS
        return "command" if opens else first

    def floor(self, room: str) -> int | None:
        """Return the floor of a room; None where the layout does not know it."""
        return FLOOR.get("tasks" if room.startswith("tasks.") and room != "tasks.base" else room)

    def upward(self) -> Iterator[str]:
        """Name the imports that go up, or sideways, or to a room that the layout does not know."""
        for module in self.files:
            if module == "fovea":
                continue
            room = self.room(module)
            floor = self.floor(room)
            if floor is None:
                yield f"{module}: the layout has no room {room!r}"
                continue
            for other in self.edges(module):
                room_there = self.room(other)
                there = self.floor(room_there)
                if there is None or room_there == room or there < floor or (room, room_there) in MAY:
                    continue
                yield f"{module} imports {other}: {room} must not see {room_there}"

    def unknown(self) -> Iterator[str]:
        """Name imports of the package that are no file of it, and relative ones."""
        for module, imported in self.imports.items():
            for name in imported:
                if name.startswith(".") or (name.startswith("fovea.") and self.module(name) is None):
                    yield f"{module} imports {name}"

    def foreign(self, packages: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """Yield (module, name) of imports from these packages."""
        for module, imported in self.imports.items():
            yield from ((module, name) for name in imported if name.split(".")[0] in packages)

    def private(self) -> Iterator[str]:
        """Name the uses of `_private` names of another file, and of `_modules` of another package."""
        for module, tree in self.trees.items():
            local: dict[str, str] = {}  # what a module is called here
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fovea"):
                    for alias in node.names:
                        full = f"{node.module}.{alias.name}"
                        if full in self.files:
                            local[alias.asname or alias.name] = full
                        elif _is_private(alias.name):
                            yield f"{module} imports {full}"
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    of = local.get(node.value.id)
                    if of is not None and _is_private(node.attr):
                        yield f"{module} uses {of}.{node.attr}"
            for other in self.edges(module):
                parent, _, last = other.rpartition(".")
                if _is_private(last) and not module.startswith(f"{parent}."):
                    yield f"{module} imports {other}"

    def circles(self) -> Iterator[str]:
        """Name the groups of files that import each other, each once."""
        reached = {module: self._reached(module) for module in self.files}
        seen: set[str] = set()
        for module in self.files:
            circle = {other for other in reached[module] if module in reached[other]}
            if circle and module not in seen:
                seen |= circle
                yield " <-> ".join(sorted(circle | {module}))

    def _reached(self, start: str) -> set[str]:
        found: set[str] = set()
        waiting = self.edges(start)
        while waiting:
            module = waiting.pop()
            if module not in found:
                found.add(module)
                waiting += self.edges(module)
        return found


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@cache
def house() -> House:
    return House(SRC)


def listed(offenders: Iterator[str]) -> str:
    return "\n".join(sorted(offenders))


def test_imports_go_down():
    assert listed(house().upward()) == ""


def test_imports_name_files():
    assert listed(house().unknown()) == ""


def test_no_files_import_each_other():
    assert listed(house().circles()) == ""


def test_private_names_stay_in_their_file():
    assert listed(house().private()) == ""


def test_hydra_stays_above_the_tasks():
    found = house().foreign(("hydra", "omegaconf"))
    assert listed(f"{m} imports {n}" for m, n in found if house().room(m) not in HYDRA) == ""


def test_what_draws_and_what_reads_runs_needs_no_torch():
    inside = {m for m in house().files if house().room(m) in WITHOUT_TORCH}
    found = [
        (m, n)
        for m, n in house().foreign(HEAVY)
        if m in inside and m != "fovea.types"  # names types of tensors for the type checker alone
    ]
    assert listed(f"{m} imports {n}" for m, n in found) == ""


def test_the_drawing_of_the_floors_is_true():
    text = (SRC.parent / "docs" / "tour.md").read_text(encoding="utf-8")
    drawn = dict(re.findall(r"^(\d)  (.*)$", text, flags=re.MULTILINE))
    there = {house().room(module).split(".")[0] for module in house().files} - {""}
    for floor, rooms in enumerate(FLOORS):
        missing = [
            room
            for room in rooms
            if room.split(".")[0] in there and room not in drawn[str(floor)].replace("/", ".")
        ]
        assert missing == [], f"floor {floor}: {drawn[str(floor)]}"


@pytest.mark.parametrize("script", sorted(SRC.glob("*.py")), ids=lambda f: f.name)
def test_scripts_are_short(script):
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 10


LAWFUL = {
    "types.py": "",
    "ops/sum.py": "import fovea.types\n",
    "config/build.py": "from fovea.ops import sum\n",
}


@pytest.mark.parametrize(
    ("file", "text", "rule", "said"),
    [
        ("ops/up.py", "from fovea.models.net import Net", "upward", "ops must not see models"),
        ("ops/up.py", "def f():\n    import fovea.models.net", "upward", "ops must not see models"),
        (
            "ops/up.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fovea.models.net import Net",
            "upward",
            "ops must not see models",
        ),
        ("data/side.py", "from fovea.models.net import Net", "upward", "data must not see models"),
        ("tasks/a/task.py", "from fovea.tasks.b.task import B", "upward", "tasks.a must not see tasks.b"),
        ("explain/page.py", "from fovea.explain.command import main", "upward", "must not see command"),
        ("nowhere/x.py", "", "upward", "no room 'nowhere'"),
        ("ops/typo.py", "from fovea.opps import x", "unknown", "fovea.opps.x"),
        ("ops/near.py", "from . import sum", "unknown", ".sum"),
        (
            "models/net.py",
            "from fovea.models import net2",
            "circles",
            "fovea.models.net <-> fovea.models.net2",
        ),
        ("ops/own.py", "from fovea.ops.sum import _secret", "private", "fovea.ops.sum._secret"),
        ("ops/own.py", "from fovea.ops import sum as s\ns._secret()", "private", "fovea.ops.sum._secret"),
        ("config/own.py", "from fovea.models._pool import Pool", "private", "fovea.models._pool"),
    ],
)
def test_each_rule_can_fail(tmp_path, file, text, rule, said):
    rest = {
        "models/net.py": "class Net: ...",
        "models/net2.py": "from fovea.models.net import Net",
        "models/_pool.py": "class Pool: ...",
        "tasks/b/task.py": "class B: ...",
        "explain/command.py": "import fovea.ops.sum",
    }
    for name, content in {**LAWFUL, **rest}.items():
        _write(tmp_path / "fovea" / name, content)
    assert listed(getattr(House(tmp_path), rule)()) == ""
    _write(tmp_path / "fovea" / file, text)
    assert said in listed(getattr(House(tmp_path), rule)())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
