"""Compare trained runs: find them, choose metric and groups, write one table and one page."""

from __future__ import annotations

import logging
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from fovea.compare import tables
from fovea.compare.evaluated import with_eval
from fovea.compare.examples import PairedExamples
from fovea.compare.figures import clear
from fovea.compare.find import find
from fovea.compare.grouping import choose, gather
from fovea.compare.page import page
from fovea.compare.remarks import other_metric, remarks
from fovea.compare.types import Comparison, ModelGroup, PerImageScores, Pictures
from fovea.compare.verdicts import different_tests, odd_ones, paired_tests
from fovea.config import build, gate
from fovea.config.offline import offline
from fovea.config.overrides import nearest
from fovea.config.paths import CONF
from fovea.config.values import count, listed
from fovea.engine import rundir
from fovea.engine.log import configure
from fovea.engine.processes import stop_signals
from fovea.engine.trained import device, moved, open_run
from fovea.errors import UsageError
from fovea.files import printable, results_folder, write_json, write_text
from fovea.runs.quoting import override_list
from fovea.runs.read import STATUSES, Run, read_run

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

log = logging.getLogger(__name__)
UNFINISHED = "unfinished"
TRAINING = (
    "Costs of training are means over the runs of a model: the median time of an epoch, with validation; "
    "images/s without validation; the peak memory of the process, or of the GPU where there was one."
)


def main(config: DictConfig) -> None:
    """Read the runs, measure their networks, write the tables and the page, print the table."""
    configure(None)
    if OmegaConf.is_missing(config, "runs"):
        raise UsageError("runs= is missing: give runs=DIR, runs='GLOB' or runs=[DIR,DIR] on the command line")
    with stop_signals():
        found = compare(config, sys.argv[1:])
        path = write(found)
    log.info("\n%s\n%s", tables.summary(found), path)


def compare_sweep(sweep_dir: Path, metric: str | None) -> Path:
    """Compare the jobs of a sweep by a metric, without measuring the networks; return the page."""
    config: Any = OmegaConf.load(CONF / "compare.yaml")
    del config["defaults"], config["hydra"]
    output = str(sweep_dir / "comparison")
    config.merge_with({"runs": str(sweep_dir), "output": output, "timing": False, "images": False})
    config.metric = metric
    return write(compare(config, [f"runs={sweep_dir}", *([f"metric={metric}"] if metric else [])]))


def compare(config: DictConfig, words: Sequence[str]) -> Comparison:
    """Return the comparison that `words` ask for; of files only the figures of the task are written."""
    rounds, seconds = count(config, "rounds"), count(config, "seconds")
    found, task = _tested(config, words)
    clear(found.folder)
    if config.timing:
        from fovea.compare.cost import measure

        on = device(str(config.accelerator))
        cost, method, notes = measure(
            found.groups, open_net=_open_net, device=on, rounds=rounds, seconds=seconds
        )
        found = replace(found, cost=cost, method=[*found.method, *method], notes=[*found.notes, *notes])
    if task is not None:
        found = replace(found, table=task.table(found.groups))
        if config.images:
            pictures = _pictures(found.base.runs[0], config.data_root)
            found = replace(found, sections=task.sections(found.groups, found.base, pictures, found.folder))
    return found


def _tested(config: DictConfig, words: Sequence[str]) -> tuple[Comparison, PairedExamples | None]:
    """Read the runs, group them, test their differences; return also the task's own part."""
    dirs = find(listed(config, "runs"), exclude=listed(config, "exclude"))
    runs, left_out = read(dirs, listed(config, "include"), listed(config, "tags"))
    metric, mode = choose_metric(runs, config.metric, config.mode)
    task = task_comparison(runs, metric)
    scores: list[PerImageScores | None] = [None] * len(runs)
    notes: list[str] = []
    if not (unlike := different_tests(runs, scores)):  # the view has the classes of the first run
        scores, notes = read_scores(runs, task)
        unlike = different_tests(runs, scores)
    if unlike:
        if not config.allow_different_tests:
            odd = [str(run.dir) for run in odd_ones(runs, scores)]
            fewer = "choose runs of one test set"
            if odd:
                fewer = f"leave out those that differ from most: {override_list('exclude', odd)}"
            remedy = "allow_different_tests=true for tables without tests of significance"
            raise UsageError(f"{unlike}\n  {fewer}\n  or give {remedy}")
        scores = [None] * len(runs)
        notes.append(f"No significance is tested, and the ranking means little: {unlike}.")
    groups, repeated = gather(runs, scores, by=listed(config, "group_by"))
    groups = ordered(groups, metric, mode)
    base = groups[0] if config.baseline is None else baseline(groups, str(config.baseline), metric)
    notes += [*missing(groups, metric), *other_metric(task, metric), *remarks(groups, repeated)]
    left_out += [(str(run.dir), why) for run, why in repeated]
    measure = "" if task is None or unlike else f"test/{task.metric}"
    found = Comparison(
        metric=metric, groups=groups, base=base, measure=measure, tests=paired_tests(groups, base),
        folder=results_folder(Path(str(config.output))),
        command=shlex.join(["python", "src/compare.py", *words]), left_out=left_out,
        notes=notes, method=[TRAINING],
    )  # fmt: skip
    return found, task


def read(
    dirs: Sequence[Path], include: Sequence[str], tags: Sequence[str] = ()
) -> tuple[list[Run], list[tuple[str, str]]]:
    """Read the runs whose status and tags are wanted; name the others with the reason."""
    allowed = (*STATUSES, UNFINISHED)
    if unknown := [word for word in include if word not in allowed]:
        raise UsageError(f"include={unknown[0]} is unknown; allowed: {', '.join(allowed)}")
    runs, left_out, seen = [], [], set()
    for path in dirs:
        run = with_eval(read_run(path))
        seen |= set(run.tags)
        problem = run.problem or _refusal(run)
        if not problem and tags and not set(tags) & set(run.tags):
            problem = f"has none of the tags {', '.join(tags)}"
        if run.config and not problem and (run.status if run.status in STATUSES else UNFINISHED) in include:
            runs.append(run)
        else:
            left_out.append((str(path), problem or run.status))
    if tags and not seen & set(tags):
        raise UsageError(f"no run has tags={','.join(tags)}; there are: {', '.join(sorted(seen)) or 'none'}")
    if not runs:
        reasons = "\n".join(f"  {path}: {why}" for path, why in left_out)
        raise UsageError(f"there is no run to compare; include=[…] takes others in:\n{reasons}")
    return runs, left_out


def _refusal(run: Run) -> str:
    """Return why the part of a run's config that is built here is refused; nothing where it is not."""
    try:
        gate.check({"report": run.config.get("report")}, source=run.dir / "config.yaml", whole=False)
    except UsageError as error:
        return str(error)
    return ""


def choose_metric(runs: Sequence[Run], metric: str | None, mode: str | None) -> tuple[str, str]:
    """Return the metric that ranks and whether more of it is better."""
    if mode not in (None, "max", "min"):
        raise UsageError(f"mode={mode} is unknown; allowed: max, min")
    monitors, modes = {str(run.monitor): run for run in runs if run.monitor}, {}
    for name, run in monitors.items():
        known = run.section("best").get("mode") or (run.config.get("metrics") or {}).get("mode")
        modes[name.split("/", 1)[-1]] = known
    if metric is None:
        if len(modes) != 1:
            names = ", ".join(sorted(monitors)) or "nothing"
            raise UsageError(f"the runs share no monitored metric ({names}): give one, as in metric=test/acc")
        metric = f"test/{next(iter(modes))}"
    _require(runs, metric)
    base = metric.split("/", 1)[-1]
    return metric, mode or modes.get(base) or ("min" if "loss" in base or "error" in base else "max")


def _require(runs: Sequence[Run], metric: str) -> None:
    """Refuse a metric that no run has."""
    known = sorted({name for run in runs for name in run.section("metrics")})
    if metric in known:
        return
    if metric.startswith("test/") and not any(name.startswith("test/") for name in known):
        raise UsageError(
            f"none of the runs ({len(runs)}) has a test stage, so there is no {metric} to compare: measure "
            f"each with python src/eval.py run={runs[0].dir} split=test, or give metric=val/{metric[5:]}"
        )
    near = nearest(metric, known)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise UsageError(f"no run has metric={metric}{hint}; there are: {', '.join(known) or 'none'}")


def task_comparison(runs: Sequence[Run], metric: str) -> PairedExamples | None:
    """Return the comparison of answers; None where the task has no view, or there are several tasks."""
    nodes: list[Any] = [(run.config.get("report") or {}).get("view") or {} for run in runs]
    if len({node.get("_target_") for node in nodes}) > 1 or not nodes[0]:
        return None
    view = build.make(nodes[0])(classes=runs[0].classes)
    return PairedExamples(view, metric=metric.removeprefix("test/"))


def read_scores(
    runs: Sequence[Run], task: PairedExamples | None
) -> tuple[list[PerImageScores | None], list[str]]:
    """Read the predictions of every run; say which cannot be read."""
    found: list[PerImageScores | None] = []
    notes = []
    for run in runs:
        try:
            found.append(None if task is None else task.read(run))
        except ValueError as error:
            found.append(None)
            notes.append(str(error))
    return found, notes


def ordered(groups: Sequence[ModelGroup], metric: str, mode: str) -> list[ModelGroup]:
    """Return the best group first, those without the metric last."""
    sign = -1 if mode == "max" else 1
    return sorted(groups, key=lambda g: (math.isnan(g.mean(metric)), sign * g.mean(metric), g.name))


def baseline(groups: Sequence[ModelGroup], name: str, metric: str) -> ModelGroup:
    """Return the group that a user calls the baseline."""
    base = choose(groups, name)
    if math.isnan(base.mean(metric)):
        raise UsageError(f"baseline={name} ({base.name}) has no {metric}: it cannot be compared with")
    return base


def missing(groups: Sequence[ModelGroup], metric: str) -> list[str]:
    """Describe which runs lack the metric or their predictions."""
    notes = []
    for group in groups:
        found = {str(run.dir): run.section("metrics") for run in group.runs}
        bare = [name for name, metrics in found.items() if metric not in metrics]
        if bare:
            notes.append(f"{group.name}: without {metric} (no test stage?): {', '.join(bare)}.")
        nan = [name for name, metrics in found.items() if metric in metrics and metrics[metric] is None]
        if nan:
            notes.append(f"{group.name}: {metric} is not a number (nothing to find?): {', '.join(nan)}.")
    some = "; ".join(group.name for group in groups if 0 < len(group.scores) < len(group.runs))
    if some:
        notes.append(f"Some runs kept no test predictions and are missing from the paired tests: {some}.")
    none = [group.name for group in groups if not group.scores]
    if none and len(none) < len(groups):
        notes.append(f"Without test predictions, so not tested for significance: {'; '.join(none)}.")
    return notes


def _open_net(run_dir: Path) -> tuple[nn.Module, Mapping[str, Any]]:
    trained = open_run(str(run_dir), "best")
    return trained.net, trained.preprocessing


def _pictures(run: Run, data_root: str | None) -> Pictures:
    """Return a function that reads test images by name, the way a run read them."""

    def read(ids: list[str]) -> dict[str, np.ndarray]:
        config = moved(offline(rundir.read_strangers_config(run.dir)), data_root=data_root, num_workers=0)
        config.augment = {"sample": {}, "batch": {}}
        module = build.datamodule(config, build.preprocessing(config, None))
        module.setup("test")
        index = {name: i for i, name in enumerate(map(str, module.test.ids))}
        return {name: module.test.load(index[name])["image"] for name in ids if name in index}

    return read


def write(comparison: Comparison) -> Path:
    """Write compare.md, .csv, .tex, .json and .html, each whole or not at all; return the page."""
    comparison.folder.mkdir(parents=True, exist_ok=True)
    write_text(comparison.folder / "compare.md", printable(tables.to_markdown(comparison)))
    write_text(comparison.folder / "compare.csv", printable(tables.to_csv(comparison)))
    write_text(comparison.folder / "compare.tex", printable(tables.to_latex(comparison)))
    write_json(comparison.folder / "compare.json", tables.facts(comparison), indent=1)
    write_text(comparison.folder / "compare.html", page(comparison))
    return comparison.folder / "compare.html"
