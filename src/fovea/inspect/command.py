"""Prepare, check, preview and measure one data set."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from fovea import errors
from fovea.config import build
from fovea.config.values import count
from fovea.engine.log import configure
from fovea.engine.processes import stop_signals
from fovea.engine.summary import command_line
from fovea.errors import UsageError
from fovea.files import results_folder, write_json, write_text
from fovea.page.progress import progress

if TYPE_CHECKING:
    from fovea.data.module import DataModule
    from fovea.data.subset import Subset
    from fovea.inspect.findings import Finding
    from fovea.inspect.image import ImageRecord
    from fovea.inspect.splits import SplitPart
    from fovea.page.annotations import Drawing
    from fovea.types import Preprocessing

log = logging.getLogger(__name__)
SMALL = 64  # pixels of the longer side up to which augment=light is the default, else standard


def main(config: DictConfig) -> None:
    """Run one action; `check` ends with exit code 1 where it found errors."""
    actions: dict[str, Callable[[DictConfig, Path], int]] = {
        "prepare": prepare, "check": check, "preview": preview, "stats": stats,
    }  # fmt: skip
    configure(None)
    action = None if OmegaConf.is_missing(config, "action") else config.action
    if action not in actions:
        problem = "action= is missing" if action is None else f"action is {action!r}"
        raise UsageError(f"{problem}; allowed: {', '.join(actions)}")
    config = resolved(config)
    try:
        with stop_signals():
            code = actions[action](config, results_folder(Path(str(config.output))))
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

    rows = [(split, len(subset), len(subset.classes)) for split, subset in module.splits.items()]
    log.info("%s is ready\n%s", config.data.name, text_table(rows, ["split", "images", "classes"]))
    return 0


def check(config: DictConfig, out: Path) -> int:
    """Report every problem as a table, JSON and a page; 1 where there are errors."""
    from fovea.inspect.check import as_json, check_page, check_table, verdict
    from fovea.inspect.collect import collect_findings
    from fovea.inspect.statistics import summarise_all

    config.data.on_error = "skip"  # lines of a table that cannot be used are findings, and the others checked
    parts, findings = open_parts(config)
    records = inspect_all(config, parts)
    findings += bad_lines(parts)
    findings += collect_findings(
        parts,
        records,
        preprocessing=preprocessing(config),
        complete=config.limit is None,
        counted=not config.data.accepts,
    )
    name, sizes = config.data.name, {part.split: len(part) for part in parts}
    found = summarise_all(parts, records)
    page = check_page(
        name, findings, found, show=viewer(parts), drawing=drawing(parts), sizes=sizes, command=command_line()
    )
    result, table = f"{name}: {verdict(findings)}", check_table(findings)
    facts = {"name": name, "splits": sizes, "verdict": verdict(findings), "findings": as_json(findings)}
    write(out, "check", {**facts, "statistics": found}, page)
    log.info("%s%s\n%s", f"{table}\n\n" if table else "", result, out / "check.html")
    return int(any(finding.severity == "error" for finding in findings))


def stats(config: DictConfig, out: Path) -> int:
    """Measure the data set."""
    from fovea.inspect.statistics import compare_normalisation, summarise_all
    from fovea.inspect.stats import stats_page, stats_table

    parts, findings = open_parts(config)
    found = summarise_all(parts, inspect_all(config, parts))
    text = compare_normalisation(found.get("train", {}), preprocessing(config))
    remarks = [finding.message for finding in findings] + ([text] if text else [])
    page = stats_page(config.data.name, found, remarks=remarks, command=command_line())
    write(out, "stats", {"name": config.data.name, "remarks": remarks, "splits": found}, page)
    notes = "".join(f"\n{remark}" for remark in remarks)
    log.info("%s%s\n%s", stats_table(found), notes, out / "stats.html")
    return 0


def preview(config: DictConfig, out: Path) -> int:
    """Draw samples with their annotations, and augmented versions of them."""
    from fovea.data.choose import augmented, choose, readable
    from fovea.inspect.preview import Shown, write_preview

    module = datamodule(config, augment=True)
    train = module.splits["train"]
    chosen = choose(train.labels, size=len(train), count=config.samples, seed=config.seed)
    samples = readable(train, chosen)
    versions = augmented(module, list(samples), versions=config.versions)
    shown = [Shown(train.name(i), samples[i], more) for i, more in zip(samples, versions, strict=True)]
    out.mkdir(parents=True, exist_ok=True)
    nodes = {**config.augment.get("sample", {}), **config.augment.get("batch", {})}
    steps = [name for name, node in nodes.items() if node and node.get("enabled", True)]
    facts = [("Classes", f"{len(train.classes):,}", "")] if len(train.classes) else []
    facts += [("Augmentation", ", ".join(steps) or "none", "")]
    page = write_preview(
        out, shown, name=config.data.name, drawing=drawing([train]), facts=facts, command=command_line()
    )
    log.info("%d samples, %d augmented versions of each\n%s", len(shown), config.versions, page)
    return 0


def resolved(config: DictConfig) -> DictConfig:
    """Return the config for inspecting data: any number of images will do; an augmentation is chosen."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    for key in ("seed", "samples", "versions"):
        value = config[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < (key == "samples"):
            raise UsageError(f"{key} is {value!r}; allowed: an integer of at least {int(key == 'samples')}")
    if config.limit is not None:
        count(config, "limit")
    config.data.accepts = bool(config.data.get("subset", False))  # asked for: fewer images are no finding
    config.data.subset, config.data.batch_size = True, 1
    if "augment" not in config or config.augment is None:
        from fovea.config.groups import member

        size = config.data.image_size or 224
        longest = size if isinstance(size, int) else max(size)
        config.augment = member("augment", "light" if longest <= SMALL else "standard")
    return config


def preprocessing(config: DictConfig) -> Preprocessing:
    """Return the preprocessing for a network without statistics of its own."""
    return build.preprocessing(OmegaConf.merge(config, {"model": {"pretrained": False}}), None)  # type: ignore[arg-type]


def datamodule(config: DictConfig, *, augment: bool = False) -> DataModule:
    """Read the data set as a training does."""
    if config.data.num_classes is None:
        build.count_classes(config)
    if not augment:
        config = config.copy()
        config.augment = {"sample": {}, "batch": {}}
    module = build.datamodule(config, preprocessing(config))
    module.prepare_data()
    module.setup()
    return module


def open_parts(config: DictConfig) -> tuple[list[SplitPart], list[Finding]]:
    """Return the splits as a training reads them; if that fails, those that open, and why others do not."""
    from fovea.inspect.findings import Finding
    from fovea.inspect.splits import SplitPart, open_each

    findings: list[Finding] = []
    try:
        splits = datamodule(config).splits
        order = [name for name in ("train", "val", "test") if name in splits]
        parts = [SplitPart(name, splits[name].dataset, splits[name].indices) for name in order]
    except Exception as error:  # the very thing to report
        factory, root = build.make(config.data.dataset), Path(str(config.data.root))
        try:
            parts, findings = open_each(factory, channels=int(config.data.channels), root=root)
        except FileNotFoundError:
            raise
        except ValueError as why:  # nothing of it can be opened: no finding, but a set that will not do
            raise UsageError(str(why)) from why
        if not findings:  # each split opens, but the set cannot be trained on
            findings = [Finding("cannot open", "all", "", " ".join(errors.explain(error).split()))]
    return [part.limited(config.limit, seed=config.seed) for part in parts], findings


def bad_lines(parts: Sequence[SplitPart]) -> list[Finding]:
    """Return the lines of a table that a data set left out, each once."""
    from fovea.inspect.findings import Finding

    lines = {line: part.split for part in reversed(parts) for line in getattr(part.dataset, "left_out", ())}
    return [Finding("bad line", split, "", line) for line, split in lines.items()]


def inspect_all(config: DictConfig, parts: Sequence[SplitPart]) -> list[list[ImageRecord]]:
    """Inspect every image once."""
    from fovea.inspect.image import inspect_split

    channels, side = int(config.data.channels), min(preprocessing(config)["image_size"])
    with progress(sum(map(len, parts)), str(config.data.name)) as advance:
        return [inspect_split(part, channels=channels, side=side, advance=advance) for part in parts]


def drawing(parts: Sequence[Subset]) -> Drawing:
    """Return the colours and class names that draw the samples of a data set."""
    from fovea.page.annotations import Drawing

    named = max((part.dataset for part in parts), key=lambda dataset: len(dataset.classes))
    mask_classes = getattr(named, "mask_classes", None) or ()
    return Drawing(list(named.classes), getattr(named, "palette", None), list(mask_classes))


def viewer(parts: Sequence[SplitPart]) -> Callable[[str, int], Mapping[str, Any]]:
    """Return a function that loads as much of a sample as can be read, if only the image."""
    from fovea.inspect.image import decode

    by_name = {part.split: part for part in parts}

    def show(split: str, index: int) -> Mapping[str, Any]:
        part = by_name[split]
        try:
            sample: dict[str, Any] = dict(part.load(index))
        except Exception:  # reported
            image = decode(part.files(index).get("image"), 3)
            sample = {} if image is None else {"image": image}
        boxes = part.raw_boxes(index) if sample else None  # also those outside the image
        return sample if boxes is None else {**sample, "boxes": boxes}

    return show


def write(out: Path, name: str, facts: dict[str, Any], page: str) -> None:
    """Write NAME.json and NAME.html, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", facts, indent=1)
    write_text(out / f"{name}.html", page)
