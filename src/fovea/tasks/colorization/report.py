"""Report a colourisation: how far off the colours are, and what they look like."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fovea.page.blocks import Block, Heading, Picture, Section, Table, Text
from fovea.page.formats import metric
from fovea.page.heatmap import heat
from fovea.page.image_grid import Tile, grid
from fovea.runs.read import read_run

FAR = 60.0  # the distance in ab that is drawn brightest
COLUMNS = 2  # pictures side by side
GROUPS = {
    "first": "The first pictures of the test split",
    "best": "The best",
    "worst": "The worst",
}
CAPTION = (
    "What the net sees, what it makes of it, the truth, and the distance between the two in a and b: black "
    f"is none, yellow {FAR:.0f} and more. The number is the root mean square over the picture."
)


def sections(run_dir: Path) -> list[Section]:
    """Build the colourisation part of a report; empty when the run made no test predictions."""
    run_dir = Path(run_dir)
    folder = run_dir / "predictions"
    if not (folder / "test.npz").is_file():
        return []
    try:
        scores, shown = load(folder / "test.npz"), load(folder / "colours.npz")
    except ValueError as error:
        return [Section("Test pictures", [Text(str(error), "note")])]
    return [_overview(read_run(run_dir).section("metrics"), scores), _pictures(run_dir, scores, shown)]


def load(path: Path) -> dict[str, np.ndarray]:
    """Read what the callback wrote; ValueError where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error


def _overview(found: Mapping[str, Any], scores: Mapping[str, np.ndarray]) -> Section:
    better = int((scores["ab_error"] < scores["grey_error"]).sum())
    total = len(scores["ab_error"])
    text = (
        f"{better:,} of {total:,} test pictures ({better / total:.1%}) have colours nearer to the truth than "
        "no colours at all. The mean colour is that of the training images."
    )
    blocks: list[Block] = [Text(text)]
    rows = [
        (name, *(found.get(f"test/{key}{ending}") for key in ("ab_error", "psnr")))
        for name, ending in (("This run", ""), ("Grey", "_grey"), ("Mean colour", "_mean"))
    ]
    if any(value is not None for row in rows for value in row[1:]):
        headers = ("Pictures", "Error in a and b", "PSNR in dB")
        blocks.append(Table(headers, rows, "Against pictures without a net", "lrr"))
    vivid, true = (float(scores[key].mean()) for key in ("colourfulness", "true_colourfulness"))
    blocks.append(
        Text(f"Colourfulness (0 is grey, 33 average): {metric(vivid)}, of the truth {metric(true)}.", "note")
    )
    return Section("Test pictures", blocks)


def _pictures(run_dir: Path, scores: Mapping[str, np.ndarray], shown: Mapping[str, np.ndarray]) -> Section:
    blocks: list[Block] = []
    for group, title in GROUPS.items():
        which = np.flatnonzero(shown["group"] == group)
        if not len(which):
            continue
        examples = [_example(scores, shown, int(i)) for i in which]
        rows = [[*chain(*examples[i : i + COLUMNS])] for i in range(0, len(examples), COLUMNS)]
        path = grid(run_dir / "figures" / f"colours_{group}.png", rows)
        blocks.append(Heading(title))
        blocks.append(Picture(path, title, "" if len(blocks) > 1 else CAPTION))
    return Section("Colours", blocks)


def _example(scores: Mapping[str, np.ndarray], shown: Mapping[str, np.ndarray], i: int) -> list[Tile]:
    truth, row = shown["truth"][i], int(shown["row"][i])
    return [
        Tile(picture=without_colour(truth), lines=[str(scores["ids"][row])]),
        Tile(picture=shown["pred"][i], lines=["prediction"]),
        Tile(picture=truth, lines=["truth"]),
        Tile(picture=heat(shown["error"][i] / FAR), lines=[f"error {scores['ab_error'][row]:.1f}"]),
    ]


def without_colour(picture: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 with the same lightness and no colour."""
    import torch

    from fovea.ops.lab import grey, lightness

    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    return (grey(lightness(x))[0] * 255).round().byte().permute(1, 2, 0).repeat(1, 1, 3).numpy()
