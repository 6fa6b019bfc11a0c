"""Report a style transfer: content, style, result and the steps between."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from fovea.page.blocks import Block, Gallery, Picture, Section
from fovea.page.image_grid import sheet
from fovea.page.label import annotate
from fovea.runs.read import read_run

SHOWN = 8  # pictures on the way at most


def sections(run_dir: Path) -> list[Section]:
    """Build the part of a report that shows pictures; empty when none was written."""
    folder = run_dir / "images"
    steps = sorted(folder.glob("step_*.png"), key=number)
    if not steps:
        return []
    result = run_dir / "result.png"
    blocks: list[Block] = []
    if result.is_file():
        three = {"content": folder / "content.png", "style": folder / "style.png", "result": result}
        tiles = [annotate(_read(file), [name]) for name, file in used(run_dir, three).items()]
        path = sheet(run_dir / "figures" / "style_transfer.png", tiles, columns=len(tiles))
        blocks.append(Picture(path, "content, style and result"))
    chosen = spread(steps, SHOWN)
    items = [(path.read_bytes(), "image/png", (f"step {number(path)}",), path.name) for path in chosen]
    items.append((animate(steps), "image/gif", ("animation",), "progress.gif"))
    blocks.append(Gallery(items, "The image after so many steps of the optimiser."))
    return [Section("Pictures", blocks)]


def used(run_dir: Path, pictures: dict[str, Path]) -> dict[str, Path]:
    """Leave out the picture that had no weight."""
    task = read_run(run_dir).config.get("task") or {}
    return {k: path for k, path in pictures.items() if path.is_file() and task.get(f"{k}_weight", 1) != 0}


def _read(file: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def animate(files: list[Path]) -> bytes:
    """Return a GIF that shows the pictures one after the other, the last one longer."""
    from PIL import Image

    frames = [Image.open(file).convert("RGB").quantize(dither=Image.Dither.FLOYDSTEINBERG) for file in files]
    buffer = io.BytesIO()
    times = [300] * (len(frames) - 1) + [1500]
    frames[0].save(buffer, "gif", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return buffer.getvalue()


def spread(files: list[Path], count: int) -> list[Path]:
    """Return `count` of the files, evenly apart, the first and the last among them."""
    if len(files) <= count:
        return files
    return [files[round(i * (len(files) - 1) / (count - 1))] for i in range(count)]


def number(path: Path) -> int:
    """Return the step in a file's name."""
    return int(path.stem.rpartition("_")[2])
