"""Show the mistakes that the classifier was surest of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fovea.page.blocks import Gallery, Section, encode
from fovea.page.image_grid import sheet
from fovea.page.label import annotate, thumbnail


def sections(run_dir: Path, arrays: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[Section]:
    """Write `figures/mistakes.png` and return the gallery, the most confident mistake first."""
    order = np.argsort(-arrays["prob"], kind="stable")[:24]
    if not len(order):
        return []
    tiles, items = [], []
    for index in order:
        image = thumbnail(arrays["images"][index])
        truth, guess = (_name(classes, int(arrays[key][index])) for key in ("target", "preds"))
        probability = f"{float(arrays['prob'][index]):.3f}"
        tiles.append(annotate(image, [f"{guess}  {probability}", f"true: {truth}"], ok=False))
        items.append(
            (*encode(image), (f"{guess}, {probability}", f"true: {truth}"), str(arrays["ids"][index]))
        )
    path = run_dir / "figures" / "mistakes.png"
    sheet(path, tiles, columns=6)
    caption = "Predicted class and its probability, then the true class; the surest mistake first."
    return [Section("Worst mistakes", [Gallery(items, caption)])]


def _name(classes: Sequence[str], index: int) -> str:
    return classes[index] if 0 <= index < len(classes) else str(index)
