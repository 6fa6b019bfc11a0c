"""Read segmentation masks: one class per pixel, however a file codes it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fovea.reading import read_bytes
from fovea.types import IGNORE

if TYPE_CHECKING:
    from PIL.Image import Image

LOSSY = {"JPEG", "MPO", "AVIF", "HEIF"}  # formats that change values, as Pillow names them
LOW_BIT_GREY = {b"\x02\x00": 85, b"\x04\x00": 17}  # PNG depth and colour type: how Pillow spreads the values


def read_mask(
    path: str | Path,
    *,
    num_classes: int,
    colours: np.ndarray | None = None,
    values: Mapping[int, int] | None = None,
) -> np.ndarray:
    """Return the class of each pixel (H, W) uint8, 255 = ignore.

    A palette image counts by its indices, a grey one (1, 2, 4, 8 or 16 bits) by its values, a colour image by
    the row of its colours in `colours` (K, 3). `values` then says which class such a number stands for; one
    that it lacks stands for itself, one mapped to -1 is refused. ValueError names the file and the first
    value or colour that stands for no class, and where it is.
    """
    path = Path(path)
    numbers = _numbers(path, colours)
    top = max(65536 if numbers.dtype == np.uint16 else 256, 1 + max(values or (), default=0))
    table = np.arange(top)
    for value, meaning in (values or {}).items():
        table[value] = meaning
    wrong = (table != IGNORE) & ((table < 0) | (table >= num_classes))
    bad = _apply(wrong.astype(np.uint8), numbers)
    if bad.any():
        y, x = _first(bad)
        raise ValueError(
            f"{path} has the value {numbers[y, x]} at x={x}, y={y}, which stands for no class: expected "
            f"{_expected(wrong)}; correct the mask or the number of classes ({num_classes})"
        )
    return _apply(table.astype(np.uint8), numbers)


def check_meaning_of_255(meaning: str | None, *, classes: Sequence[str]) -> str | None:
    """Return what 255 means in masks, or raise ValueError where that cannot be."""
    if meaning not in (None, "object", "ignore"):
        raise ValueError(f"data.dataset.mask_255={meaning!r} must be object or ignore")
    if meaning == "object" and len(classes) != 2:
        raise ValueError(
            f"data.dataset.mask_255=object is for two classes, not {len(classes)}: number the classes from 0"
        )
    return meaning


def with_255(
    read: Callable[..., np.ndarray],
    *,
    meaning: str | None,
    classes: Sequence[str],
    path: Path,
) -> np.ndarray:
    """Read a mask whose 255 is the second of two classes, or what is to be ignored.

    Where nobody said which, a mask of 0 and 255 alone is refused: most editors write an object as 255.
    """
    number = {"object": 1, "ignore": IGNORE}.get(meaning or "")
    mask = read(values=None if number is None else {IGNORE: number, 65535: number})  # as 16 bits write it
    if meaning is None and len(classes) == 2 and (mask == IGNORE).any() and not (mask == 1).any():
        raise ValueError(
            f"{path} holds 255 but no 1. Say what 255 means: data.dataset.mask_255=object "
            f"({classes[1]}) or data.dataset.mask_255=ignore (pixels that do not count)"
        )
    return mask


def _apply(table: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return table[numbers], several times faster for 8 bits."""
    import cv2

    return cv2.LUT(numbers, table[:256]) if numbers.dtype == np.uint8 else table[numbers]


def _expected(wrong: np.ndarray) -> str:
    """List the values that a mask may hold, as ranges."""
    right = np.flatnonzero(~wrong)
    runs = np.split(right, np.flatnonzero(np.diff(right) > 1) + 1)
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs if len(run))


def _first(bad: np.ndarray) -> tuple[int, int]:
    y, x = np.unravel_index(int(bad.argmax()), bad.shape)
    return int(y), int(x)


def _numbers(path: Path, colours: np.ndarray | None) -> np.ndarray:
    """Decode a file to uint8 or uint16 (H, W): indices, grey values, or rows of `colours`."""
    data = read_bytes(path)
    if not data:
        raise ValueError(f"{path} is empty: replace or remove it")
    image = _open(path, data)
    _refuse_lossy(path, image, data)
    _refuse_alpha(path, image)
    if image.mode == "P" and (colours is None or _counts_by_index(image, colours)):
        return np.asarray(image)
    if image.mode in ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"):
        return _rows(path, image.convert("RGB"), colours)
    if image.mode in ("1", "L", "LA"):
        grey = np.asarray(image.convert("L")) if image.mode == "LA" else np.asarray(image).astype(np.uint8)
        low_bits = LOW_BIT_GREY.get(data[24:26], 1) if image.format == "PNG" and image.mode == "L" else 1
        return grey // np.uint8(low_bits)
    deep = np.asarray(image)
    if deep.dtype.kind not in "iu" or deep.min() < 0 or deep.max() > 65535:
        raise ValueError(
            f"{path} holds numbers from {deep.min()} to {deep.max()}: a mask holds classes from 0"
        )
    return deep.astype(np.uint16)


def _refuse_lossy(path: Path, image: Image, data: bytes) -> None:
    """Raise ValueError where the compression changes values: a class turns into its neighbour unnoticed."""
    lossy_webp = image.format == "WEBP" and b"VP8L" not in data
    if image.format in LOSSY or lossy_webp or image.info.get("compression") == "jpeg":
        raise ValueError(
            f"{path} is compressed as {image.format} with loss, which changes the values of a mask: save it "
            f"as PNG from its source, or round its values to those of the classes first"
        )


def _refuse_alpha(path: Path, image: Image) -> None:
    """Raise ValueError where transparency alone tells the pixels apart: it is not read."""
    if image.mode in ("LA", "PA", "RGBA"):
        values = np.asarray(image.convert("RGBA")).reshape(-1, 4)
        differs = (values != values[0]).any(axis=0)
        if differs[3] and not differs[:3].any():
            raise ValueError(
                f"{path} has one colour, and its transparency alone differs, which is not read: save the "
                f"mask without transparency"
            )


def _open(path: Path, data: bytes) -> Image:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image
    except Exception as error:  # Pillow's plugins fail in many ways on a damaged file
        raise ValueError(f"{path} cannot be read as a mask ({error}): replace or remove it") from error


def _counts_by_index(image: Image, colours: np.ndarray) -> bool:
    """Return whether each index that is used has the colour of that row, or is 255."""
    used = np.flatnonzero(np.bincount(np.asarray(image).ravel(), minlength=256))
    palette = np.asarray(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    used = used[used != IGNORE]
    return bool((used < min(len(colours), len(palette))).all()) and np.array_equal(
        palette[used], colours[used]
    )


def _rows(path: Path, image: Image, colours: np.ndarray | None) -> np.ndarray:
    """Return the row of `colours` for each pixel (H, W); ValueError names a colour that is none."""
    if colours is None:
        rgb = np.asarray(image)
        if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all():
            return np.ascontiguousarray(rgb[..., 0])  # grey, stored three times
        raise ValueError(
            f"{path} is a colour image, but a mask of palette indices or grey values was expected"
        )
    table = _colour_table(np.ascontiguousarray(colours, dtype=np.uint8).tobytes())
    codes = np.asarray(image.convert("RGBA")).view("<u4")[..., 0] & 0xFFFFFF  # red + green 2⁸ + blue 2¹⁶
    rows = table[codes]
    unknown = rows == len(colours)
    if unknown.any():
        y, x = _first(unknown)
        raise ValueError(
            f"{path} has the colour {image.getpixel((x, y))} (red, green, blue) at x={x}, y={y}, "
            f"which stands for no class: correct the mask or the list of colours"
        )
    return rows


@lru_cache(maxsize=2)
def _colour_table(colours: bytes) -> np.ndarray:
    """Map each 24-bit colour to its row, or to the number of rows where it is none."""
    rows = np.frombuffer(colours, dtype=np.uint8).reshape(-1, 3).astype(np.uint32)
    if len(rows) > IGNORE:
        raise ValueError(f"{len(rows)} colours are too many: a mask can have {IGNORE} classes")
    table = np.full(1 << 24, len(rows), dtype=np.uint8)
    codes = rows[:, 0] | rows[:, 1] << 8 | rows[:, 2] << 16
    table[codes[::-1]] = np.arange(len(rows))[::-1]  # of equal colours the first counts
    return table
