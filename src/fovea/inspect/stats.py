"""Render the statistics of a data set: tables, text and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fovea.inspect.statistics import Stats
from fovea.page.blocks import Block, Facts, Picture, Section, Table, Text
from fovea.page.document import document
from fovea.page.formats import counted, integer
from fovea.page.plots import class_bars, histograms
from fovea.page.text_table import text_table


def stats_page(name: str, splits: Mapping[str, Stats], *, remarks: Sequence[str], command: str) -> str:
    """Return the page of `action=stats`."""
    total = sum(split["images"] for split in splits.values())
    body: list[Block] = [*(Text(remark, "error") for remark in remarks), *sections(splits)]
    about = f"{counted(total, 'image')} in {counted(len(splits), 'split')}"
    return document(f"{name}: statistics", badge=("good", "stats"), about=about, body=body, footer=command)


def stats_table(splits: Mapping[str, Stats]) -> str:
    """Sum every split up in a column of text."""
    return text_table(rows(splits), ["", *splits], align="l" + "r" * len(splits))


def rows(splits: Mapping[str, Stats]) -> list[list[str]]:
    """Return a row for each number, with a column for each split; what no split has is left out."""
    lines = [
        ("images", lambda s: integer(s["images"])),
        ("classes", lambda s: str(sum(count > 0 for count in s["classes"].values()))),
        ("images per class", lambda s: _range(list(s["classes"].values()))),
        ("width", lambda s: _spread(s["sizes"]["width"])),
        ("height", lambda s: _spread(s["sizes"]["height"])),
        ("width / height", lambda s: _spread(s["sizes"]["aspect"])),
        ("mean", lambda s: "  ".join(f"{v:.4f}" for v in s["mean"])),
        ("std", lambda s: "  ".join(f"{v:.4f}" for v in s["std"])),
        ("objects", lambda s: integer(s["boxes"]["objects"])),
        ("objects per image", lambda s: _spread(s["boxes"]["per_image"])),
        ("box side", lambda s: _spread(s["boxes"]["side"])),
        ("small, medium, large", lambda s: ", ".join(map(integer, s["boxes"]["small_medium_large"]))),
        ("ignored pixels", lambda s: f"{100 * s['masks']['ignored']:.2f} %"),
        ("captions", lambda s: integer(s["captions"]["captions"])),
        ("captions per image", lambda s: _spread(s["captions"]["per_image"])),
        ("words per caption", lambda s: _spread(s["captions"]["words"])),
        ("different words", lambda s: integer(s["captions"]["vocabulary"])),
    ]
    table = [[title, *(_cell(make, split) for split in splits.values())] for title, make in lines]
    return [row for row in table if any(row[1:])]


def _cell(make: Any, split: Stats) -> str:
    try:
        return make(split)
    except (KeyError, ValueError):  # the split has no such thing
        return ""


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _spread(stats: Stats) -> str:
    low, middle, high = (f"{stats[key]:,.4g}" for key in ("min", "median", "max"))
    return low if low == high else f"{low} to {high}, median {middle}"


def sections(splits: Mapping[str, Stats]) -> list[Section]:
    """Return the table of all splits and the plots of the first."""
    align = "l" + "r" * len(splits)
    table = Table(["", *splits], rows(splits), "Ranges go from the smallest to the largest value.", align)
    found = [Section("Statistics", [table])]
    split, first = next(iter(splits.items()), ("", {}))
    makers = (_classes, _sizes, _objects, _pixels, _captions)
    return [*found, *(Section(title, blocks) for make in makers for title, blocks in make(split, first))]


def _classes(split: str, stats: Stats) -> list[tuple[str, list[Block]]]:
    counts = stats.get("classes")
    if not counts:
        return []
    low, high = min(counts.values()), max(counts.values())
    ratio = f"The largest class has {high / low:.3g} times as many images as the smallest." if low else ""
    plot = Picture(class_bars(counts, title=f"images of each class, {split}"), "Images of each class")
    equal = "Every class has the same number of images." if low == high else ""
    return [("Classes", [plot, Text(equal or ratio or "The smallest class has no images.", "note")])]


def _sizes(split: str, stats: Stats) -> list[tuple[str, list[Block]]]:
    sizes = stats.get("sizes")
    if not sizes:
        return []
    common = sizes["common"]
    if sizes["distinct"] == 1:
        text = f"All images have {common[0]['width']}×{common[0]['height']} pixels."
        return [("Sizes", [Text(text)])]
    named = [(f"{key}, pixels", sizes[key]["histogram"]) for key in ("width", "height")]
    plot = Picture(
        histograms([*named, ("width / height", sizes["aspect"]["histogram"])]), "Sizes of the images"
    )
    listed = ", ".join(f"{c['width']}×{c['height']} ({c['images']:,})" for c in common)
    text = f"{sizes['distinct']:,} different sizes in {split}; the most common are {listed}."
    return [("Sizes", [plot, Text(text, "note")])]


def _objects(split: str, stats: Stats) -> list[tuple[str, list[Block]]]:
    boxes = stats.get("boxes")
    if not boxes or not boxes["objects"]:
        return []
    named = [("objects per image", boxes["per_image"]["histogram"])]
    named += [("box side (√area), pixels", boxes["side"]["histogram"])]
    small, medium, large = boxes["small_medium_large"]
    facts = [
        ("Objects", integer(boxes["objects"]), f"in {split}"),
        ("Images without objects", integer(boxes["images_without"]), ""),
        ("Small", integer(small), "(under 32×32 pixels)"),
        ("Medium", integer(medium), ""),
        ("Large", integer(large), "(96×96 pixels or more)"),
    ]
    bars = Picture(
        class_bars(boxes["per_class"], title=f"objects of each class, {split}"), "Objects of each class"
    )
    return [("Objects", [Facts(facts), bars, Picture(histograms(named), "Number and size of objects")])]


def _pixels(split: str, stats: Stats) -> list[tuple[str, list[Block]]]:
    masks = stats.get("masks")
    if not masks:
        return []
    percent = {name: 100 * share for name, share in masks["share"].items()}
    bars = Picture(class_bars(percent, title=f"% of the labelled pixels, {split}"), "Pixels of each class")
    text = f"{100 * masks['ignored']:.2f} % of all pixels are ignored (255)."
    return [("Pixels", [bars, Text(text, "note")])]


def _captions(split: str, stats: Stats) -> list[tuple[str, list[Block]]]:
    captions = stats.get("captions")
    if not captions:
        return []
    named = [("words per caption", captions["words"]["histogram"])]
    named += [("captions per image", captions["per_image"]["histogram"])]
    text = (
        f"{captions['vocabulary']:,} different words, {captions['seen_5_times']:,} of them 5 times or "
        f"more. The most common: {', '.join(captions['common'])}."
    )
    return [("Captions", [Picture(histograms(named), "Lengths of the captions"), Text(text, "note")])]
