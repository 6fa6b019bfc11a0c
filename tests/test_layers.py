"""Imports go down only, and every file stays within its size."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
LAYER = {
    "types": 0, "ops": 0, "models": 1, "data": 1, "metrics": 1, "optim": 1,
    "tasks": 2, "explain": 2, "callbacks": 3, "reports": 3, "engine": 4,
}  # fmt: skip
FILES = sorted((SRC / "fovea").rglob("*.py"))


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(file: Path) -> str:
    return file.relative_to(SRC / "fovea").parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SRC)))
def test_imports_go_down(file):
    own = part(file)
    if own == "__init__":
        return
    for name in imported(file):
        if not name.startswith("fovea."):
            continue
        other = name.split(".")[1]
        if other == own or other not in LAYER:
            continue
        assert LAYER[other] < LAYER[own] or {own, other} == {"types", "ops"}, (
            f"{own} must not import {other} ({name})"
        )


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SRC)))
def test_only_the_engine_imports_hydra(file):
    hydra = [n for n in imported(file) if n.split(".")[0] in ("hydra", "omegaconf")]
    assert part(file) == "engine" or not hydra


@pytest.mark.parametrize("script", sorted(SRC.glob("*.py")), ids=lambda f: f.name)
def test_scripts_are_short(script):
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 20


def test_the_rule_can_fail(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("from fovea.engine import build\nimport hydra\n")
    assert {"fovea.engine.build", "hydra"} <= imported(file)
