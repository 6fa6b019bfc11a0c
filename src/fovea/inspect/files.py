"""Check one file of a data set without trusting its name."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from fovea.data.formats.listing import FORMATS
from fovea.data.formats.listing import SUFFIXES as IMAGES
from fovea.reading import read_bytes

Problem = tuple[str, str]  # (kind of finding, message)

MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
}
BARE = (".txt",)  # of annotations with a line for each object: without one there is no object
PICTURES = ("image", "mask", "instances")  # roles of files that hold pixels


def check_file(path: Path, *, role: str, channels: int = 3) -> tuple[list[Problem], bool]:
    """Return the problems of a file, and whether it is worth decoding."""
    try:
        data = read_bytes(path)
    except PermissionError:
        return [("no permission", f"the {role} may not be read")], False
    except (FileNotFoundError, NotADirectoryError):
        kind = {"image": "missing image", "mask": "missing mask", "instances": "missing mask"}
        why = "a link to nothing" if path.is_symlink() else "no such file"
        return [(kind.get(role, "missing annotation"), why)], False
    except OSError as error:
        return [("corrupt", f"the {role} cannot be read: {error.strerror}")], False
    except ValueError:
        return [("corrupt", f"the {role} is no regular file")], False
    if not data and not (role == "annotation" and path.suffix.lower() in BARE):
        return [("empty file", f"the {role} has 0 bytes")], False
    return _check_picture(data, path, role, channels) if is_picture(path, role) else ([], True)


def is_picture(path: Path, role: str) -> bool:
    """Return whether a file should hold pixels: annotations and masks may also be tables."""
    suffix = path.suffix.lower()
    return suffix in IMAGES or (role in PICTURES and suffix not in {".mat", ".npy", ".npz", ".json", ".txt"})


def _check_picture(data: bytes, path: Path, role: str, channels: int) -> tuple[list[Problem], bool]:
    found = sniff(data)
    suffix = path.suffix.lower()
    if found is None:
        known = suffix in IMAGES - FORMATS["TGA"]  # which begins with no mark
        return [
            ("corrupt", f"the {role} is not an image file: it begins with {data[:8]!r}")
        ] * known, not known
    problems: list[Problem] = []
    if suffix in IMAGES and suffix not in FORMATS[found]:
        problems.append(("wrong extension", f"the content is {found}, the name ends in {path.suffix}"))
    if is_truncated(data, found):
        return [*problems, ("truncated", f"the {role} ends before the end of its {found} data")], False
    if role == "image":
        problems += check_mode(path, channels=channels)
    return problems, True


def sniff(data: bytes) -> str | None:
    """Return the image format by the first bytes; None where they belong to no known format."""
    for magic, name in MAGIC.items():
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:12] in (b"avif", b"avis") else "HEIF"
    pnm = len(data) > 2 and data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace()
    return "PNM" if pnm else None


def is_truncated(data: bytes, kind: str) -> bool:
    """Return whether the data stop before the end mark or the size of the format."""
    if kind == "JPEG":
        return data.find(b"\xff\xd9", _start_of_scan(data)) < 0
    if kind == "PNG":
        return not _has_png_end(data)
    if kind == "GIF":
        return not data.rstrip(b"\0").endswith(b";")
    if kind == "WebP":
        return len(data) < struct.unpack("<I", data[4:8])[0] + 8
    return False


def _start_of_scan(data: bytes) -> int:
    """Return where the compressed pixels of a JPEG begin: previews before it have an end mark too."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:
            return at
        if marker == 0xFF:  # a fill byte
            at += 1
        else:
            at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return at


def _has_png_end(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        at += 12 + size
        if name == b"IEND":
            return at <= len(data)
    return False


def check_mode(path: Path, *, channels: int) -> list[Problem]:
    """Compare how pixels are stored with the channels that are wanted; a file that is no image has none."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            mode, transparent = file.mode, "transparency" in file.info
    except Exception:  # decoding will say so
        return []
    if mode[0] in "IF" or mode == "CMYK":
        return [
            ("16-bit or CMYK", f"the mode is {'CMYK' if mode == 'CMYK' else f'{mode}, more than 8 bits'}")
        ]
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or transparent:
        return [("transparent", f"the mode is {mode}{' with transparency' if transparent else ''}")]
    if mode == "P":
        return [("palette", "the mode is P, a palette")]
    if channels == 3 and mode in ("1", "L"):
        return [("grey", f"the mode is {mode} where colour is expected")]
    if channels == 1 and mode not in ("1", "L"):
        return [("colour", f"the mode is {mode} where grey is expected")]
    return []


def check_turned(path: Path | None) -> list[Problem]:
    """Find a photo that its EXIF data turn on reading, so that masks and boxes may lie as it is stored."""
    from PIL import Image

    from fovea.data.images import ORIENTATION

    if path is None:
        return []
    try:
        with Image.open(path) as file:
            turn = file.getexif().get(ORIENTATION, 1)
    except Exception:  # decoding will say so
        return []
    text = f"EXIF orientation {turn} turns the photo on reading: its mask and boxes must be turned too"
    return [("turned by EXIF", text)] if turn not in (0, 1) else []


def images_below(folder: Path) -> list[Path]:
    """List the image files below a folder, sorted; links to folders are not followed."""
    found = (Path(here, name) for here, _, names in os.walk(folder) for name in names)
    return sorted(path for path in found if path.suffix.lower() in IMAGES)
