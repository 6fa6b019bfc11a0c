"""Get, check, show and measure one data set."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea import errors
from fovea.config import build
from fovea.engine.log import configure
from fovea.engine.processes import stop_signals
from fovea.errors import UsageError
from fovea.files import write_text
from fovea.inspect.opening import datamodule, open_parts, preprocessing, resolved, walk

log = logging.getLogger(__name__)


def main(config: DictConfig) -> None:
    """Run one action; `check` ends with exit code 1 where it found errors."""
    actions: dict[str, Callable[[DictConfig, Path], int]] = {
        "prepare": prepare, "check": check, "preview": preview, "stats": stats,
    }  # fmt: skip
    configure(None)
    action = None if OmegaConf.is_missing(config, "action") else config.action
    if action not in actions:
        said = "action= is missing" if action is None else f"action is {action!r}"
        raise UsageError(f"{said}; allowed: {', '.join(actions)}")
    config = resolved(config)
    try:
        with stop_signals():
            code = actions[action](config, Path(str(config.output)))
    except errors.Interrupted:
        log.warning("stopped; pages and tables of earlier calls are as they were")
        raise
    if code:
        sys.exit(code)


def prepare(config: DictConfig, out: Path) -> int:
    """Download what is missing, or say how to get it; then open every split."""
    factory = build.make(config.data.dataset)
    owner = getattr(factory, "func", factory)
    if not hasattr(owner, "prepare"):
        log.info("%s: there is nothing to download", config.data.name)
    config.data.download = True
    module = datamodule(config)
    from fovea.page.text_table import text_table

    rows = [(split, len(view), len(view.classes)) for split, view in module.views.items()]
    log.info("%s is ready\n%s", config.data.name, text_table(rows, ["split", "images", "classes"]))
    return 0


def check(config: DictConfig, out: Path) -> int:
    """Report every problem as a table, JSON and a page; 1 where there are errors."""
    from fovea.inspect.check import as_json, check_page, check_table, verdict
    from fovea.inspect.judge import judge, summaries

    parts, findings = open_parts(config)
    records, how = walk(config, parts), preprocessing(config)
    findings += judge(
        parts,
        records,
        image_size=how["image_size"],
        mean=how["mean"],
        std=how["std"],
        complete=config.limit is None,
        counted=not config.data.accepts,
    )
    sizes, found = {part.split: len(part) for part in parts}, summaries(parts, records)
    name, how_to = config.data.name, {"show": viewer(parts), "how": drawing(parts)}
    page = check_page(name, findings, found, **how_to, sizes=sizes, command=command())
    said, table = f"{name}: {verdict(findings)}", check_table(findings)
    facts = {"name": name, "splits": sizes, "verdict": verdict(findings), "findings": as_json(findings)}
    write(out, "check", {**facts, "statistics": found}, page)
    log.info("%s%s\n%s", f"{table}\n\n" if table else "", said, out / "check.html")
    return int(any(finding.severity == "error" for finding in findings))


def stats(config: DictConfig, out: Path) -> int:
    """Measure the data set."""
    from fovea.inspect.judge import summaries
    from fovea.inspect.statistics import compare_normalisation
    from fovea.inspect.stats import stats_page, stats_table

    parts, findings = open_parts(config)
    found, how = summaries(parts, walk(config, parts)), preprocessing(config)
    remarks = [finding.message for finding in findings]
    text = compare_normalisation(found.get("train", {}), mean=how["mean"], std=how["std"])
    remarks += [text] if text else []
    page = stats_page(config.data.name, found, remarks=remarks, command=command())
    write(out, "stats", {"name": config.data.name, "remarks": remarks, "splits": found}, page)
    said = "".join(f"\n{remark}" for remark in remarks)
    log.info("%s%s\n%s", stats_table(found), said, out / "stats.html")
    return 0


def preview(config: DictConfig, out: Path) -> int:
    """Draw samples with everything that is marked in them, and augmented versions."""
    from fovea.data.choose import augmented, choose, readable
    from fovea.inspect.preview import Shown, write_preview

    module = datamodule(config, augment=True)
    view = module.views["train"]
    chosen = choose(view.labels, size=len(view), count=config.samples, seed=config.seed)
    samples = readable(view, chosen)
    versions = augmented(module, list(samples), versions=config.versions)
    shown = [Shown(view.name(i), samples[i], more) for i, more in zip(samples, versions, strict=True)]
    out.mkdir(parents=True, exist_ok=True)
    nodes = {**config.augment.get("sample", {}), **config.augment.get("batch", {})}
    steps = [name for name, node in nodes.items() if node and node.get("enabled", True)]
    facts = [("Classes", f"{len(view.classes):,}", "")] if len(view.classes) else []
    facts += [("Augmentation", ", ".join(steps) or "none", "")]
    page = write_preview(
        out, shown, name=config.data.name, how=drawing([view]), facts=facts, command=command()
    )
    log.info("%d samples, %d augmented versions of each\n%s", len(shown), config.versions, page)
    return 0


def drawing(parts: Sequence[Any]) -> Any:
    """Return how to draw the samples of a data set."""
    from fovea.page.annotations import Drawing

    named = max((part.dataset for part in parts), key=lambda dataset: len(dataset.classes))
    mask_classes = getattr(named, "mask_classes", None) or ()
    return Drawing(list(named.classes), getattr(named, "palette", None), list(mask_classes))


def viewer(parts: Sequence[Any]) -> Callable[[str, int], Any]:
    """Return a function that gives what can be drawn of an image, if only the image itself."""
    from fovea.inspect.image import decode, raw_boxes

    by_name = {part.split: part for part in parts}

    def show(split: str, index: int) -> Any:
        part = by_name[split]
        try:
            sample = dict(part.load(index))
        except Exception:  # reported
            image = decode(part.files(index).get("image"), 3)
            sample = {} if image is None else {"image": image}
        boxes = raw_boxes(part, index) if sample else None  # also those outside the image
        return sample if boxes is None else {**sample, "boxes": boxes}

    return show


def write(out: Path, name: str, facts: dict[str, Any], page: str) -> None:
    """Write NAME.json and NAME.html, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / f"{name}.json", json.dumps(facts, indent=1) + "\n")
    write_text(out / f"{name}.html", page)


def command() -> str:
    """Return the command that was given, for the page."""
    import shlex

    return shlex.join(["python", "src/data.py", *sys.argv[1:]])
