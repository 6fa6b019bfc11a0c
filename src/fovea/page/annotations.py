"""Draw what is said about an image onto it: boxes, masks, instances, keypoints."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.page.glyphs import drawable, font
from fovea.page.label import fit, to_rgb
from fovea.types import IGNORE

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

TINT = 0.35  # of a mask's colour, so that the image's own still shows
GREY = (128, 134, 140)
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Drawing:
    """How to draw: class names, colours (K, 3) of the mask values, and pixels of the longer side.

    `mask_classes` name the mask values where those are not the classes of labels and boxes.
    """

    classes: Sequence[str]
    palette: np.ndarray | None = None
    mask_classes: Sequence[str] = ()
    side: int = 256

    def colour(self, number: int) -> Colour:
        """Return the colour of a mask value: the data set's own, or a hue far from its neighbours'."""
        if self.palette is not None and number < len(self.palette) and self.palette[number].any():
            red, green, blue = map(int, self.palette[number])
            return red, green, blue
        hue = (0.61 + 0.618034 * number) % 1.0
        red, green, blue = (round(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.75, 0.95 - 0.2 * (number % 2)))
        return red, green, blue

    def name(self, number: int) -> str:
        """Return the name of a class."""
        return str(self.classes[number]) if 0 <= number < len(self.classes) else f"class {number}"

    @property
    def mask_names(self) -> list[str]:
        """The names of the mask values."""
        return list(self.mask_classes or self.classes)

    @property
    def background(self) -> bool:
        """Whether mask value 0 is what is none of the others."""
        return self.mask_names[:1] == ["background"]

    def box_colour(self, label: int) -> Colour:
        """Return the colour of a class: that of its mask value."""
        return self.colour(label + (self.background and self.mask_names[1:] == list(self.classes)))


def draw(sample: Mapping[str, Any], how: Drawing) -> np.ndarray:
    """Return the image with all its annotations, and a legend of its mask below: uint8 (H, W, 3)."""
    from PIL import Image, ImageDraw

    image = to_rgb(sample["image"])
    canvas = np.array(_resized(image, how.side))
    size, scale = canvas.shape[:2], canvas.shape[1] / image.shape[1]
    mask = sample.get("mask")
    if mask is not None:
        canvas = _overlay(canvas, _stretched(mask, size), how)
    if sample.get("instances") is not None:
        canvas = _outlined(canvas, _stretched(sample["instances"], size))
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    _boxes(pen, sample, how, scale)
    for x, y in np.asarray(sample.get("keypoints", np.zeros((0, 2)))) * scale:
        if np.isfinite(x):
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(255, 214, 10), outline=(20, 20, 20))
    drawn = np.asarray(picture)
    return drawn if mask is None else np.vstack([drawn, legend(mask, how, width=drawn.shape[1])])


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    """Bring the longer side to `side`; pixels of a small image are shown as they are."""
    from PIL import Image

    longest = max(image.shape[:2])
    height, width = (max(1, round(length * side / longest)) for length in image.shape[:2])
    how = Image.Resampling.NEAREST if 2 * longest <= side else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize((width, height), how))


def _stretched(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring a map (H, W) to (*size) without mixing its values."""
    rows = np.arange(size[0]) * values.shape[0] // size[0]
    columns = np.arange(size[1]) * values.shape[1] // size[1]
    return np.asarray(values)[rows[:, None], columns]


def _overlay(canvas: np.ndarray, mask: np.ndarray, how: Drawing) -> np.ndarray:
    table = np.array([how.colour(k) for k in range(IGNORE)] + [(255, 255, 255)], dtype=np.float32)
    strength = np.full(IGNORE + 1, TINT, dtype=np.float32)
    strength[IGNORE] = 0.5
    if how.background:
        strength[0] = 0.0
    part = strength[mask][..., None]
    return (canvas * (1 - part) + table[mask] * part).astype(np.uint8)


def _outlined(canvas: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """Draw a white line with a dark rim where one object ends."""
    edge = np.zeros(instances.shape, dtype=bool)
    edge[1:] |= instances[1:] != instances[:-1]
    edge[:, 1:] |= instances[:, 1:] != instances[:, :-1]
    edge &= instances != IGNORE
    rim = edge.copy()
    rim[:-1] |= edge[1:]
    rim[1:] |= edge[:-1]
    rim[:, :-1] |= edge[:, 1:]
    rim[:, 1:] |= edge[:, :-1]
    canvas = canvas.copy()
    canvas[rim] = 30
    canvas[edge] = 255
    return canvas


def _boxes(pen: ImageDraw, sample: Mapping[str, Any], how: Drawing, scale: float) -> None:
    boxes = np.asarray(sample.get("boxes", np.zeros((0, 4))), dtype=np.float64).reshape(-1, 4) * scale
    labels = _for_each(sample.get("labels"), len(boxes), -1)
    ignore = _for_each(sample.get("ignore"), len(boxes), False)
    for box, label, left_out in zip(boxes, labels, ignore, strict=True):
        if not np.isfinite(box).all() or (box[2:] < box[:2]).any():
            continue
        colour = GREY if left_out else how.box_colour(int(label))
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(20, 20, 20))
        pen.rectangle((x1, y1, x2, y2), outline=colour, width=2)
        if label >= 0:
            _tag(pen, (x1, y1), how.name(int(label)) + (" (ignored)" if left_out else ""), colour, how.side)


def _for_each(values: Any, count: int, default: int) -> np.ndarray:
    """Return one value for each box; those of the file may be more than the ones that were accepted."""
    return np.full(count, default) if values is None or len(values) != count else np.asarray(values)


def _tag(pen: ImageDraw, corner: tuple[int, int], text: str, colour: Colour, room: int) -> None:
    """Write a class name on its colour, above the corner of a box or, at the top, inside it."""
    small = font(11)
    text = fit(drawable(text), font=small, width=room // 2)
    width = small.getlength(text) + 6
    x = max(0, min(corner[0], pen.im.size[0] - round(width)))  # type: ignore[union-attr]
    y = corner[1] - 14 if corner[1] >= 14 else corner[1] + 1
    pen.rectangle((x, y, x + width, y + 14), fill=colour)
    dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    pen.text((x + 3, y + 0.5), text, fill=(20, 20, 20) if dark else (255, 255, 255), font=small)


def legend(mask: np.ndarray, how: Drawing, *, width: int) -> np.ndarray:
    """Name the classes of a mask, the largest first: uint8 (H, width, 3)."""
    from PIL import Image, ImageDraw

    counts = np.bincount(np.asarray(mask).ravel(), minlength=IGNORE + 1)
    if how.background:
        counts[0] = 0
    present = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]][:6]
    canvas = Image.new("RGB", (width, 4 + 17 * max(len(present), 1)), "white")
    pen = ImageDraw.Draw(canvas)
    for row, number in enumerate(present):
        y = 4 + 17 * row
        colour = (255, 255, 255) if number == IGNORE else how.colour(number)
        share = 100 * counts[number] / max(np.asarray(mask).size, 1)
        names = how.mask_names
        name = "ignored" if number == IGNORE else names[number] if number < len(names) else f"value {number}"
        pen.rectangle((2, y + 1, 12, y + 11), fill=colour, outline=(60, 60, 60))
        text = fit(drawable(f"{name} {share:.0f} %"), font=font(11), width=width - 20)
        pen.text((18, y - 1), text, fill=(40, 44, 48), font=font(11))
    if not present:
        pen.text((2, 3), "only background", fill=(92, 99, 107), font=font(11))
    return np.asarray(canvas)
