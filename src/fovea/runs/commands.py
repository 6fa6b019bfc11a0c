"""Spell the commands that repeat, resume, evaluate or use a run, ready to paste."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from fovea.page.blocks import Block, Code, Section, Text
from fovea.runs.read import Run
from fovea.types import TaskView


def sections(run: Run, view: TaskView | None = None) -> list[Section]:
    """List the commands that this run directory and the view of its task allow."""
    where = shown(run.dir)
    blocks: list[Block] = [Text("A click selects a whole command.", "note")]
    blocks.append(Code(repeat(run), "Repeat this run", copy=True))
    saved = run.dir / "checkpoints"
    if (saved / "last.ckpt").exists():
        blocks.append(
            Code(f"python src/train.py {override('run_dir', where)} resume=true", "Resume it", copy=True)
        )
    if any((saved / name).exists() for name in ("best.ckpt", "last.ckpt")):
        blocks.append(
            Code(f"python src/eval.py {override('run', where)}", "Evaluate its checkpoint", copy=True)
        )
        uses = {"predict": "Predict images or a folder of images"} if view else {}
        uses |= {"explain": "See what it looks at"} if view and view.selector else {}
        blocks += [
            Code(f"python src/{name}.py {override('run', where)} input=PATH", label, copy=True)
            for name, label in uses.items()
        ]
    else:
        blocks.append(
            Text("No checkpoint was saved, so the run can be repeated but neither resumed nor used.")
        )
    return [Section("Commands", blocks)]


def repeat(run: Run) -> str:
    """Return the recorded command, or one rebuilt from the config of a run that never wrote its summary."""
    if run.summary.get("command"):
        return str(run.summary["command"])
    keys = [key for key in ("experiment", "seed") if run.config.get(key) is not None]
    return " ".join(["python src/train.py", *(override(key, str(run.config[key])) for key in keys)])


def override(key: str, value: str) -> str:
    """Quote `key=value` for Hydra's grammar, then for the shell."""
    if re.fullmatch(r"[\w./:+%@-]+", value, flags=re.ASCII):
        return f"{key}={value}"
    inner = re.sub(r'(\\+)(?="|$)', r"\1\1", value).replace('"', '\\"')
    return shlex.quote(f'{key}="{inner}"')


def shown(path: Path) -> str:
    """Return a path relative to the working directory where it lies inside it."""
    absolute = os.path.abspath(path)
    relative = os.path.relpath(absolute)
    return absolute if relative.startswith("..") else relative
