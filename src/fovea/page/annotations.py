"""Draw annotations or predictions onto an image: boxes, class maps, instances, keypoints, errors."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.ops.palette import voc_palette
from fovea.page.label import INK, SOFT, Colour, drawable, fit, font, resized, to_rgb
from fovea.types import IGNORE

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

TINT = 0.55  # of a class's colour, so that the image still shows
GREY, WRONG = (128, 134, 140), (214, 39, 40)
SWATCH, LINE = 11, 18  # pixels of a legend
NAMED = 6  # classes in the legend of a sample


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
        """Whether mask value 0 is the background."""
        return self.mask_names[:1] == ["background"]

    def box_colour(self, label: int) -> Colour:
        """Return the colour of a class: that of its mask value."""
        return self.colour(label + (self.background and self.mask_names[1:] == list(self.classes)))

    @cached_property
    def table(self) -> np.ndarray:
        """The colours (256, 3) uint8 of the mask values; ignored pixels are white."""
        return np.array([self.colour(k) for k in range(IGNORE)] + [(255, 255, 255)], dtype=np.uint8)


def draw(sample: Mapping[str, Any], options: Drawing) -> np.ndarray:
    """Return the image with all its annotations, and a legend of its mask below: uint8 (H, W, 3)."""
    from PIL import Image, ImageDraw

    image = to_rgb(sample["image"])
    canvas = resized(image, side=options.side)
    size, scale = canvas.shape[:2], canvas.shape[1] / image.shape[1]
    mask = sample.get("mask")
    if mask is not None:
        table, background = options.table, options.background
        canvas = overlay(canvas, stretched(mask, size), table, background=background, tint=0.35)
    if sample.get("instances") is not None:
        canvas = _outlined(canvas, stretched(sample["instances"], size))
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    _boxes(pen, sample, options, scale)
    for x, y in np.asarray(sample.get("keypoints", np.zeros((0, 2)))) * scale:
        if np.isfinite(x):
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(255, 214, 10), outline=(20, 20, 20))
    drawn = np.asarray(picture)
    return drawn if mask is None else np.vstack([drawn, _shares(mask, options, width=drawn.shape[1])])


def colours(palette: Any = None) -> np.ndarray:
    """Return colours (256, 3) uint8 for the values of a mask: the data set's own, then PASCAL VOC's."""
    table = voc_palette(IGNORE + 1)
    if palette is not None:
        own = np.asarray(palette, dtype=np.uint8).reshape(-1, 3)[:IGNORE]
        table[: len(own)] = own
    return table


def has_background(classes: Sequence[str]) -> bool:
    """Return whether class 0 is the background."""
    return bool(classes) and str(classes[0]).lower() == "background"


def stretched(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Bring a map (H, W) to the first two of `size` without mixing its values."""
    rows = np.arange(size[0]) * values.shape[0] // size[0]
    columns = np.arange(size[1]) * values.shape[1] // size[1]
    return np.asarray(values)[rows[:, None], columns]


def overlay(
    image: np.ndarray, mask: np.ndarray, table: np.ndarray, *, background: bool, tint: float = TINT
) -> np.ndarray:
    """Tint an image uint8 (H, W, C) by its classes (H, W), with a line of the class's colour at its edge.

    A background is not tinted.
    """
    image = to_rgb(image)
    part = np.where(mask == IGNORE, 0.5, tint)[..., None]
    blend = np.rint(image * (1 - part) + table[mask] * part).astype(np.uint8)
    edge = np.zeros(mask.shape, dtype=bool)
    edge[1:] |= mask[1:] != mask[:-1]
    edge[:-1] |= mask[1:] != mask[:-1]
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edge[:, :-1] |= mask[:, 1:] != mask[:, :-1]
    blend[edge] = table[mask[edge]]
    if background:
        blend[mask == 0] = image[mask == 0]
    return blend


def errors(image: np.ndarray, truth: np.ndarray, preds: np.ndarray) -> np.ndarray:
    """Paint wrong pixels red on a pale grey image, and ignored ones white: uint8 (H, W, 3)."""
    grey = to_rgb(image).mean(axis=2, keepdims=True).repeat(3, axis=2)
    out = (140 + 0.45 * grey).astype(np.uint8)
    out[(preds != truth) & (truth != IGNORE)] = WRONG
    out[truth == IGNORE] = 255
    return out


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


def _boxes(pen: ImageDraw, sample: Mapping[str, Any], options: Drawing, scale: float) -> None:
    boxes = np.asarray(sample.get("boxes", np.zeros((0, 4))), dtype=np.float64).reshape(-1, 4) * scale
    labels = _for_each(sample.get("labels"), len(boxes), -1)
    ignore = _for_each(sample.get("ignore"), len(boxes), False)
    scores = sample.get("scores")  # of detections
    says = [""] * len(boxes) if scores is None else [f" {score:.2f}" for score in scores]
    for box, label, left_out, score in zip(boxes, labels, ignore, says, strict=True):
        if not np.isfinite(box).all() or (box[2:] < box[:2]).any():
            continue
        colour = GREY if left_out else options.box_colour(int(label))
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(20, 20, 20))
        pen.rectangle((x1, y1, x2, y2), outline=colour, width=max(2, options.side // 400))
        if label >= 0:
            _tag(
                pen,
                (x1, y1),
                options.name(int(label)) + (" (ignored)" if left_out else score),
                colour,
                options.side,
            )


def _for_each(values: Any, count: int, default: int) -> np.ndarray:
    """Return one value for each box; those of the file may be more than the ones that were accepted."""
    return np.full(count, default) if values is None or len(values) != count else np.asarray(values)


def _tag(pen: ImageDraw, corner: tuple[int, int], text: str, colour: Colour, room: int) -> None:
    """Write a class name on its colour, above the corner of a box or, at the top, inside it."""
    size = max(11, room // 64)
    small, height = font(size), size + 3
    text = fit(drawable(text), font=small, width=room // 2)
    width = small.getlength(text) + 6
    x = max(0, min(corner[0], pen.im.size[0] - round(width)))
    y = corner[1] - height if corner[1] >= height else corner[1] + 1
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    pen.text((x + 3, y + 0.5), text, fill=(20, 20, 20) if dark else (255, 255, 255), font=small)


def legend(
    present: Sequence[int],
    classes: Sequence[str],
    table: np.ndarray,
    *,
    width: int,
    shares: np.ndarray | None = None,
) -> np.ndarray:
    """Name the colours of these mask values, with their share of the pixels: uint8 (H, width, 3)."""
    from PIL import Image, ImageDraw

    text, places, x, y = font(12), [], 6, 4
    names = [_name(number, classes) for number in present]
    if shares is not None:
        names = [f"{name} {100 * shares[k]:.0f} %" for name, k in zip(names, present, strict=True)]
    names = [fit(drawable(name), font=text, width=width - SWATCH - 24) for name in names]
    for name in names:
        room = SWATCH + 6 + round(text.getlength(name)) + 14
        if x > 6 and x + room > width:
            x, y = 6, y + LINE
        places.append((x, y))
        x += room
    canvas = Image.new("RGB", (width, y + LINE), "white")
    pen = ImageDraw.Draw(canvas)
    for number, name, (left, top) in zip(present, names, places, strict=True):
        box = (left, top + 1, left + SWATCH, top + 1 + SWATCH)
        pen.rectangle(box, fill=tuple(map(int, table[number])), outline=(150, 156, 162))
        pen.text((left + SWATCH + 6, top - 1), name, fill=INK, font=text)
    if not present:
        pen.text((6, y), "only background", fill=SOFT, font=text)
    return np.asarray(canvas)


def _shares(mask: np.ndarray, options: Drawing, *, width: int) -> np.ndarray:
    """Name the classes of a mask, the largest first."""
    counts = np.bincount(np.asarray(mask).ravel(), minlength=IGNORE + 1)
    shares = counts / max(counts.sum(), 1)
    if options.background:
        counts[0] = 0
    present = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]][:NAMED]
    return legend(present, options.mask_names, options.table, width=width, shares=shares)


def _name(number: int, classes: Sequence[str]) -> str:
    if number == IGNORE:
        return "ignored"
    return str(classes[number]) if number < len(classes) else f"class {number}"
