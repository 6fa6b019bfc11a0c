"""Read any photo into RGB or grey."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fovea.reading import read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

_HEIC = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_GREY = {2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4}
_GREY |= {8: cv2.IMREAD_REDUCED_GRAYSCALE_8}
_COLOUR = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
ORIENTATION = 0x0112  # the tag of EXIF
_SOF = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive JPEG


def enough_for(size: Sequence[int], interpolation: str) -> int | None:
    """Return the shorter side that gives an input of this size to one grey level; None: only the whole does.

    It is eight times the input, from which random crops of a twelfth of the image still shrink, and no less
    than a screen, so that what is drawn stays sharp. Nearest and area look at single pixels.
    """
    return None if interpolation in ("nearest", "area") else max(1280, 8 * max(size))


def read_image(path: str | Path, *, channels: int = 3, enough: int | None = None) -> np.ndarray:
    """Decode the (first) image of a file to uint8 (H, W, channels), upright, on white where transparent.

    16-bit images are scaled to 8 bits. Grey from colour is the BT.601 luma. A JPEG is decoded at 1/2, 1/4 or
    1/8 where its shorter side is then still `enough`. ValueError names a file that is empty, cut off, damaged
    or no image.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels={channels} is not supported: choose 1 (grey) or 3 (RGB)")
    data = read_bytes(Path(path))
    if not data:
        raise ValueError(f"{path} is empty: replace or remove it")
    image = _decode_fast(data, enough) if _is_ordinary(data) else None
    if image is None:
        try:
            image = _decode_any(data, enough)
        except Exception as error:  # Pillow's plugins fail in many ways on a damaged file
            if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
                raise ValueError(f"{path} is a HEIC photo, which is not read: save it as JPEG") from error
            error = ValueError("it is none") if "BytesIO" in str(error) else error
            raise ValueError(f"{path} cannot be read as an image ({error}): replace or remove it") from error
    return to_channels(image, channels=channels)


def read_size(path: Path) -> tuple[int, int]:
    """Return the width and height that `read_image` gives, from the header of a file alone.

    ValueError names a file without one; whether its pixels can be read shows on decoding.
    """
    from PIL import Image

    if not path.is_file():  # a pipe would be waited for
        raise ValueError(f"{path} is no regular file: replace or remove it")
    try:
        with Image.open(path) as file:
            if file.format == "TIFF":  # which Pillow turns by itself
                return file.size
            exif = Image.Exif()  # file.getexif() would decode a whole PNG
            exif.load(file.info.get("exif", b""))
            lying = exif.get(ORIENTATION) in (5, 6, 7, 8)  # on a side
            return (file.height, file.width) if lying else file.size
    except Exception as error:  # Pillow's plugins fail in many ways on a damaged file
        raise ValueError(f"{path} has no readable header of an image: replace or remove it") from error


def to_channels(image: np.ndarray, *, channels: int) -> np.ndarray:
    """Convert uint8 (H, W, 1 or 3) between grey and RGB."""
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]


def _is_ordinary(data: bytes) -> bool:
    """Return whether a file is a plain 8-bit grey or RGB JPEG or PNG, which OpenCV and Pillow read alike."""
    if data[:3] == b"\xff\xd8\xff":
        return data.endswith(b"\xff\xd9") and _jpeg_header(data)[0] in (1, 3)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        plain = len(data) > 57 and data[24] == 8 and data[25] in (0, 2) and data.endswith(b"IEND\xaeB`\x82")
        header = data[: data.find(b"IDAT")]
        return plain and not any(chunk in header for chunk in (b"tRNS", b"eXIf", b"acTL"))
    return False


def _jpeg_header(data: bytes) -> tuple[int, int, int]:
    """Return colour components, height and width, or zeros where Pillow must decide (Adobe, odd headers)."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, (length,) = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])
        if marker == 0xEE:  # Adobe's marker may say that RGB is stored unconverted, or CMYK
            break
        if marker in _SOF:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return (data[at + 9], height, width) if data[at + 4] == 8 else (0, 0, 0)
        at += 2 + length
    return 0, 0, 0


def _reduction(height: int, width: int, enough: int | None) -> int:
    """Return by how much a JPEG can be reduced on decoding, 1, 2, 4 or 8, without changing its aspect."""
    exact = (
        k for k in (8, 4, 2) if height % k == width % k == 0 and min(height, width) // k >= (enough or 0)
    )
    return 1 if enough is None else next(exact, 1)


def _decode_fast(data: bytes, enough: int | None) -> np.ndarray | None:
    flag = cv2.IMREAD_ANYCOLOR
    if data[:2] == b"\xff\xd8":
        components, height, width = _jpeg_header(data)
        flag = (_GREY if components == 1 else _COLOUR).get(_reduction(height, width, enough), flag)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # a size beyond all limits; Pillow will say so
        return None
    if image is None:
        return None
    return image[..., None] if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _decode_any(data: bytes, enough: int | None = None) -> np.ndarray:
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as file:
        if file.format == "JPEG" and (by := _reduction(file.height, file.width, enough)) > 1:
            file.draft(None, (file.width // by, file.height // by))
        file.load()
        image = ImageOps.exif_transpose(file)
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return np.asarray(image.convert("L"))[..., None].copy()
    if image.mode[0] in "IF":
        return _to_8_bit(np.asarray(image))[..., None]
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _on_white(image.convert("RGBA"))
    return np.asarray(image.convert("RGB")).copy()


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Scale deep grey to 0…255: integers from 16 bits, floats from 0…1, or from their own range if wider."""
    low, high = (0.0, 65535.0) if values.dtype.kind in "iu" else (0.0, 1.0)
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    if values.min() < low or values.max() > high:
        low, high = float(values.min()), float(values.max())
    return np.rint((values - low) * (255.0 / max(high - low, 1e-12))).astype(np.uint8)


def _on_white(image: Image) -> np.ndarray:
    rgba = np.asarray(image).astype(np.uint16)
    alpha = rgba[..., 3:]
    mixed: Any = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return mixed.astype(np.uint8)
