"""Say what a reader of a comparison must know of its runs."""

from __future__ import annotations

from collections.abc import Sequence

from fovea.compare.examples import PairedExamples
from fovea.compare.types import ModelGroup
from fovea.runs.found import sentences
from fovea.runs.measured import images
from fovea.runs.read import Run


def remarks(groups: Sequence[ModelGroup], repeated: Sequence[tuple[Run, str]] = ()) -> list[str]:
    """Name groups of several places or names, debug runs, and the values that runs found before training."""
    notes = []
    joined = any(len({run.given_name for run in group.runs}) > 1 for group in groups)
    kept = {run.given_name for group in groups for run in group.runs}
    lost = any(run.given_name not in kept for run, _ in repeated)
    if joined or lost:
        notes.append(
            "Runs with names of their own count as one model where they differ in nothing but the seed, and "
            "as repetitions where not even in that: group_by=[name] keeps every name apart."
        )
    for group in groups:
        places = sorted({str(run.dir.parent) for run in group.runs})
        if len(places) > 1:
            notes.append(
                f"{group.name} joins runs of equal settings from {', '.join(places)}: "
                "group_by=[run_dir] keeps every run apart."
            )
        for run in group.runs:
            said = list(sentences(run.summary))
            if run.summary.get("debug"):
                on = images(run.summary, "test")
                said.append(f"a debug run ({run.summary['debug']}{on and f'; tested on {on}'})")
            notes += [f"{group.name}, {run.dir}: {one}." for one in said]
    return notes


def other_metric(task: PairedExamples | None, metric: str) -> list[str]:
    """Say where models are ranked by another metric than the tests compare."""
    if task is None or metric == f"test/{task.metric}":
        return []
    return [f"The models are ranked by {metric}; the paired tests compare test/{task.metric}."]
