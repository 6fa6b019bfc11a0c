"""Write the commands that repeat, resume, evaluate or use a run, ready to paste."""

from __future__ import annotations

import os
from pathlib import Path

from fovea.page.blocks import Block, Code, Section, Text
from fovea.runs.quoting import override
from fovea.runs.read import Run
from fovea.types import TaskView


def sections(run: Run, view: TaskView | None = None) -> list[Section]:
    """List the commands that this run directory and the view of its task allow."""
    where = relative(run.dir)
    saved = [name for name in ("best.ckpt", "last.ckpt") if (run.dir / "checkpoints" / name).exists()]
    found = [(repeat(run), "Repeat this run")]
    found += [(command, "It was resumed with") for command in resumed(run)]
    if "last.ckpt" in saved:
        found.append((f"python src/train.py {override('run_dir', where)} resume=true", "Resume this run"))
    if saved:
        found.append((f"python src/eval.py {override('run', where)}", "Evaluate its checkpoint"))
        uses = {"predict": "Predict images or a folder of images"} if view else {}
        uses |= {"explain": "Explain its predictions"} if view and view.selector else {}
        found += [
            (f"python src/{name}.py {override('run', where)} input=PATH", label)
            for name, label in uses.items()
        ]
    blocks: list[Block] = [Text("Click a command to select all of it.", "note")]
    blocks += [Code(command, label, copy=True) for command, label in found]
    if not saved:
        text = "No checkpoint was saved, so the run can be repeated, but neither resumed nor evaluated."
        blocks.append(Text(text))
    return [Section("Commands", blocks)]


def repeat(run: Run) -> str:
    """Return the recorded command, or one rebuilt from the config of a run that never wrote its summary."""
    if run.summary.get("command"):
        return str(run.summary["command"])
    keys = [key for key in ("experiment", "seed") if run.config.get(key) is not None]
    return " ".join(["python src/train.py", *(override(key, str(run.config[key])) for key in keys)])


def resumed(run: Run) -> list[str]:
    """Return the commands that resumed a run, each once."""
    commands = run.summary.get("resumed")
    return list(dict.fromkeys(map(str, commands))) if isinstance(commands, list) else []


def relative(path: Path) -> str:
    """Return a path relative to the working directory where it lies inside it."""
    absolute = os.path.abspath(path)
    inside = os.path.relpath(absolute)
    return absolute if inside.startswith("..") else inside
