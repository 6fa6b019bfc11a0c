"""Report a colourisation: its errors beside those of grey images and of the mean colour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fovea.page.blocks import Block, Section, Table, Text
from fovea.page.formats import metric
from fovea.runs.read import read_predictions, read_run


def sections(run_dir: Path) -> list[Section]:
    """Build the colourisation part of a report; empty when the run made no test predictions."""
    if not (scores := read_predictions(run_dir)):
        return []
    return [_overview(read_run(run_dir).section("metrics"), scores)]


def _overview(found: Mapping[str, Any], scores: Mapping[str, np.ndarray]) -> Section:
    better = int((scores["ab_error"] < scores["grey_error"]).sum())
    total = len(scores["ab_error"])
    text = (
        f"{better:,} of {total:,} test images ({100 * better / total:.1f} %) have colours closer to the "
        "ground truth than grey. The mean colour is that of the training images."
    )
    blocks: list[Block] = [Text(text)]
    rows = [
        (name, *(found.get(f"test/{key}{ending}") for key in ("ab_error", "psnr")))
        for name, ending in (("This run", ""), ("Grey", "_grey"), ("Mean colour", "_mean"))
    ]
    if any(value is not None for row in rows for value in row[1:]):
        headers = ("Images", "Error in a and b", "PSNR in dB")
        blocks.append(Table(headers, rows, "Baselines without a net", "lrr"))
    vivid, true = (float(scores[key].mean()) for key in ("colourfulness", "true_colourfulness"))
    text = f"Colourfulness (0 is grey, 33 average): {metric(vivid)}, ground truth {metric(true)}."
    blocks.append(Text(text, "note"))
    return Section("Test images", blocks)
