"""Lay the numbers of the attention study out as CSV files and as tables of a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fovea.explain.studies.attention.read import Look, layer_name
from fovea.explain.studies.names import write_table
from fovea.page.blocks import Table
from fovea.page.formats import shorten

HEADS = ("image", "layer", "path", "head", "grid", "distance_pixels", "entropy_nats", "entropy_share")
OBJECTS = ("image", "map", "share_in_object", "share_of_image")
COLUMNS = 6  # images beside each other on a page; the CSV has all


def write_heads(looks: Sequence[Look], path: Path) -> Path:
    """Write distance and entropy of every head of every layer in every image as CSV."""
    return write_table(path, [row for look in looks for row in _head_rows(look)], columns=HEADS)


def write_objects(looks: Sequence[Look], path: Path) -> Path:
    """Write which share of each map falls in the object, beside the share of the image that this covers."""
    rows = [
        {"image": look.id, "map": name, "share_in_object": share, "share_of_image": look.area}
        for look in looks
        for name, share in look.inside.items()
    ]
    return write_table(path, rows, columns=OBJECTS)


def head_table(looks: Sequence[Look], measure: str, *, caption: str) -> Table:
    """Show an attribute of `Layer`, (heads,), with a row per layer and a column per head."""
    layers = looks[0].layers
    most = max(len(layer.heads) for layer in layers)
    rows = []
    for k, layer in enumerate(layers):
        mean = sum(getattr(look.layers[k], measure) for look in looks) / len(looks)
        cells = [f"{value:.3g}" for value in mean.tolist()]
        grid = f"{layer.grid[0]} × {layer.grid[1]}"
        rows.append([layer_name(k), grid, f"{mean.mean():.3g}", *cells, *[""] * (most - len(cells))])
    headers = ["", "grid", "mean", *(f"{k + 1}" for k in range(most))]
    return Table(headers, rows, caption=caption, align="ll" + "r" * (most + 1))


def object_table(looks: Sequence[Look], *, caption: str) -> Table | None:
    """Compare layers and images by the share of the attention in the object; None where none is known."""
    known = [look for look in looks if look.area is not None]
    if not known:
        return None
    shown = known[:COLUMNS]
    headers = ["", *(shorten(Path(look.id).name, width=18) for look in shown), f"mean of {len(known)}"]
    areas = [look.area for look in known if look.area is not None]
    rows = [_shares("object's share of the image", areas, len(shown))]
    rows += [_shares(name, [look.inside[name] for look in known], len(shown)) for name in known[0].inside]
    return Table(headers, rows, caption=caption, align="l" + "r" * (len(shown) + 1))


def _shares(name: str, values: Sequence[float], shown: int) -> list[str]:
    finite = [value for value in values if value == value]
    mean = f"{100 * sum(finite) / len(finite):.1f} %" if finite else "–"
    return [name, *(f"{100 * value:.1f} %" for value in values[:shown]), mean]


def _head_rows(look: Look) -> Iterable[dict[str, Any]]:
    for k, layer in enumerate(look.layers):
        place = {"image": look.id, "layer": k + 1, "path": layer.path}
        measured = (layer.distance.tolist(), layer.entropy.tolist(), layer.entropy_share.tolist())
        for head, (distance, entropy, share) in enumerate(zip(*measured, strict=True)):
            yield place | {
                "head": head + 1,
                "grid": f"{layer.grid[0]}x{layer.grid[1]}",
                "distance_pixels": distance,
                "entropy_nats": entropy,
                "entropy_share": share,
            }
