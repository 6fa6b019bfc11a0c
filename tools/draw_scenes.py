"""Draw a page of scenes with all annotations.

`PYTHONPATH=src python tools/draw_scenes.py docs/images/scenes.png`
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fovea.data.datasets.scenes import Scenes
from fovea.data.images import to_channels
from fovea.types import Sample

CELL, GAP, LEFT, TOP, CAPTION = 168, 10, 46, 58, 66
COLUMNS = ("image", "boxes", "classes", "instances", "grey")
INK, PAPER, FAINT = (34, 36, 42), (252, 252, 250), (120, 122, 130)
# The difficulty and the two scenes of each row of the page
ROWS = ((0.0, (5, 10)), (0.5, (5, 6)), (0.5, (3, 10)), (1.0, (5, 10)))


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font."""
    return ImageFont.load_default(size)


def enlarge(image: np.ndarray) -> Image.Image:
    """Return an image (H, W, 1 or 3) at the size of a cell, pixels intact."""
    rgb = to_channels(image, channels=3)
    return Image.fromarray(rgb).resize((CELL, CELL), Image.Resampling.NEAREST)


def with_boxes(sample: Sample, scenes: Scenes) -> Image.Image:
    """Draw boxes with their class names; dashed where they are to be ignored."""
    picture = enlarge(sample["image"])
    draw, zoom = ImageDraw.Draw(picture), CELL / sample["image"].shape[0]
    # From back to front, so that the name of the shape in front is on top
    for box, label, ignore in reversed(
        list(zip(sample["boxes"], sample["labels"], sample["ignore"], strict=True))
    ):
        x1, y1, x2, y2 = (box * zoom).tolist()
        colour = tuple(scenes.palette[label + 1].tolist())
        draw.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colour, width=1 if ignore else 2)
        name = scenes.mask_classes[label + 1] + (" (ignore)" if ignore else "")
        width, height = draw.textlength(name, font=font(11)) + 6, 14
        left, top = min(max(x1, 0), CELL - width), y1 - height if y1 >= height else y1
        draw.rectangle((left, top, left + width, top + height), fill=colour)
        draw.text((left + 3, top + 1), name, fill=INK, font=font(11))
    return picture


def overlay(sample: Sample, values: np.ndarray, palette: np.ndarray) -> Image.Image:
    """Lay the colours of a map over the darkened grey picture."""
    grey = to_channels(to_channels(sample["image"], channels=1), channels=3) * 0.35
    colour = palette[np.minimum(values, len(palette) - 1)]
    mixed = np.where(values[..., None] > 0, 0.3 * grey + 0.8 * colour, grey + 12)
    return enlarge(np.clip(mixed, 0, 255).astype(np.uint8))


def cells(sample: Sample, scenes: Scenes) -> list[Image.Image]:
    """Return the pictures of one scene in the order of COLUMNS."""
    numbers = np.array(
        [(0, 0, 0), (255, 196, 61), (72, 191, 227), (239, 71, 111), (6, 214, 160), (180, 180, 180)]
    )
    return [
        enlarge(sample["image"]),
        with_boxes(sample, scenes),
        overlay(sample, sample["mask"], scenes.palette.astype(np.float64)),
        overlay(sample, sample["instances"], numbers.astype(np.float64)),
        enlarge(to_channels(sample["image"], channels=1)),
    ]


def page(rows: Sequence[tuple[float, Sequence[int]]] = ROWS) -> Image.Image:
    """Return the whole page."""
    block = len(COLUMNS) * (CELL + 3) + 22
    size = (LEFT + 2 * block, TOP + len(rows) * (CELL + CAPTION + GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((LEFT, 8), "data=scenes", fill=INK, font=font(20))
    for i in range(2 * len(COLUMNS)):
        x = LEFT + i // len(COLUMNS) * block + i % len(COLUMNS) * (CELL + 3)
        draw.text((x, TOP - 20), COLUMNS[i % len(COLUMNS)], fill=FAINT, font=font(13))
    for row, (difficulty, indices) in enumerate(rows):
        y, scenes = TOP + row * (CELL + CAPTION + GAP), Scenes(difficulty=difficulty)
        side = Image.new("RGB", (CELL, 22), PAPER)
        ImageDraw.Draw(side).text(
            (CELL // 2, 11), f"difficulty {difficulty:g}", fill=FAINT, font=font(14), anchor="mm"
        )
        sheet.paste(side.rotate(90, expand=True), (14, y))
        for half, index in enumerate(indices):
            left, sample = LEFT + half * block, scenes.load(index)
            for i, cell in enumerate(cells(sample, scenes)):
                sheet.paste(cell, (left + i * (CELL + 3), y))
            write_captions(draw, sample, scenes, (left, y + CELL + 6))
    return sheet


def write_captions(draw: ImageDraw.ImageDraw, sample: Sample, scenes: Scenes, at: tuple[int, int]) -> None:
    """Write the class and the sentences below a scene."""
    text = " · ".join(sample["captions"])
    draw.text(at, scenes.mask_classes[sample["label"] + 1], fill=FAINT, font=font(13))
    for i, line in enumerate(textwrap.wrap(text, 118)[:3]):
        draw.text((at[0] + 66, at[1] + 17 * i), line, fill=INK, font=font(13))


if __name__ == "__main__":
    page().save(Path(sys.argv[1]), optimize=True)
