"""Show samples of a data set, and how training will see them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fovea.files import write_text
from fovea.page.annotations import Drawing, draw
from fovea.page.blocks import Facts, Gallery, Section, Text, encode
from fovea.page.document import document
from fovea.page.formats import counted, shorten
from fovea.page.image_grid import sheet
from fovea.page.label import annotate

LINE = 40  # characters below a tile
CAPTIONS = 3  # of those that a sample may have


@dataclass(frozen=True)
class Shown:
    """One sample of a split, and the augmented versions of it."""

    name: str
    sample: Mapping[str, Any]
    versions: Sequence[Mapping[str, Any]] = field(default_factory=list)


def write_preview(
    out: Path,
    shown: Sequence[Shown],
    *,
    name: str,
    drawing: Drawing,
    facts: Sequence[tuple[str, str, str]],
    command: str,
) -> Path:
    """Write `preview.png`, `preview_augmented.png` and `preview.html`; return the page's path."""
    tiles = [draw(item.sample, drawing) for item in shown]
    texts = [lines(item.sample, drawing) for item in shown]
    sheet(
        out / "preview.png",
        [annotate(t, wrapped(text)) for t, text in zip(tiles, texts, strict=True)],
        columns=4,
    )
    items = [(*encode(tile), text, item.name) for tile, text, item in zip(tiles, texts, shown, strict=True)]
    body: list[Any] = [Facts(facts), Section("Samples", [Gallery(items, least="11rem")])]
    versions = max((len(item.versions) for item in shown), default=0)
    if versions:
        body.append(_augmented(out, shown, drawing, versions))
    spread = ", spread over the classes" if any("label" in item.sample for item in shown) else ""
    about = f"{counted(len(shown), 'training image')}{spread}"
    page = document(f"{name}: samples", badge=("good", "preview"), about=about, body=body, footer=command)
    write_text(out / "preview.html", page)
    return out / "preview.html"


def _augmented(out: Path, shown: Sequence[Shown], drawing: Drawing, versions: int) -> Section:
    small = replace(drawing, side=192)
    rows, items = [], []
    for item in shown:
        first, text = draw(item.sample, small), lines(item.sample, drawing)
        rows.append(annotate(first, wrapped(text[:1], width=30)))
        items.append((*encode(first), text[:1], item.name))
        for sample in item.versions:
            drawn, entries = draw(sample, small), lines(sample, drawing)[:1]
            rows.append(annotate(drawn, wrapped(entries, width=30)))
            items.append((*encode(drawn), entries if entries != text[:1] else [], f"{item.name}, augmented"))
    sheet(out / "preview_augmented.png", rows, columns=versions + 1)
    told = "The left column shows the image, the others what the network sees of it in different epochs."
    return Section("Augmented", [Text(told), Gallery(items, columns=versions + 1)])


def lines(sample: Mapping[str, Any], drawing: Drawing) -> list[str]:
    """Name the label, or the number of objects, and then the captions."""
    entries = []
    label = sample.get("label")
    if label is not None:
        entries.append(mixed(label, drawing) if np.ndim(label) else drawing.name(int(label)))
    elif "boxes" in sample:
        count = len(sample["boxes"])
        entries.append(counted(count, "object") if count else "no object")
    texts = list(sample.get("captions") or [])
    entries += [shorten(f"“{text.strip()}”", width=120) for text in texts[:CAPTIONS]]
    return entries + ([f"and {len(texts) - CAPTIONS} more"] if len(texts) > CAPTIONS else [])


def mixed(label: np.ndarray, drawing: Drawing) -> str:
    """Name a label (num_classes,) of probabilities."""
    order = [int(k) for k in np.argsort(-label, kind="stable") if label[k] > 0.005][:3]
    return " + ".join(
        f"{label[k]:.2f} {drawing.name(k)}" if label[k] < 0.995 else drawing.name(k) for k in order
    )


def wrapped(texts: Sequence[str], *, width: int = LINE) -> list[str]:
    """Break lines for the bar below a tile."""
    return [part for text in texts for part in textwrap.wrap(text, width)]
