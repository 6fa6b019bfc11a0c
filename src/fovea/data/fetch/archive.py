"""Unpack archives that were downloaded, trusting nothing that they say."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from fovea.data.fetch.tree import BLOCK, Refused, Tree, merge

log = logging.getLogger(__name__)
OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zX": lzma.open}
DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error, RuntimeError,
    ValueError,
)  # fmt: skip
HEADER = 64 * BLOCK  # no tar header is longer


def extract(archive: Path, folder: Path) -> None:
    """Unpack a zip file or a tar file (plain, gz, bz2, xz) below `folder`, all of it or nothing.

    Files in `folder` that the archive does not have stay; one that differs is kept as `<name>.orig`.
    ValueError names an archive that is damaged or swells beyond measure, and a member that would land outside
    or is no file, folder or link.
    """
    archive, folder = Path(archive), Path(folder)
    home = folder.absolute()
    while not home.is_dir():
        home = home.parent
    log.info("unpacking %s", archive)
    with tempfile.TemporaryDirectory(dir=home, prefix=".unpacking") as temporary:
        tree = Tree(archive, Path(temporary) / "tree")
        _unpack(archive, tree)
        folder.parent.mkdir(parents=True, exist_ok=True)
        merge(tree.root, folder)


def _unpack(archive: Path, tree: Tree) -> None:
    try:
        (_unpack_zip if _start(archive) in (b"PK\x03\x04", b"PK\x05\x06") else _unpack_tar)(archive, tree)
        tree.finish()
    except Refused:
        raise
    except (OSError, *DAMAGE) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the archive's
        raise ValueError(
            f"{archive} is damaged or no zip or tar file ({error}): delete it and get it again"
        ) from error


def _start(archive: Path) -> bytes:
    with archive.open("rb") as file:
        return file.read(4)


class _Counted(io.RawIOBase):
    """A decompressed tar file that counts what is read, headers too, and never reads much at once."""

    def __init__(self, file: IO[bytes], tree: Tree) -> None:
        self.file, self.tree, self.member, self.last = file, tree, "(first header)", b""

    def read(self, size: int = -1) -> bytes:
        """Read from the decompressed file."""
        if not 0 <= size <= HEADER:
            raise self.tree.refuse(self.member, f"is followed by a header of {size:,} bytes")
        self.last = self.file.read(size)
        self.tree.spend(self.member, len(self.last))
        return self.last

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move in the decompressed file."""
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place in the decompressed file."""
        return self.file.tell()


def _unpack_tar(archive: Path, tree: Tree) -> None:
    start = _start(archive)
    opener = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), open)
    with opener(archive, "rb") as plain:
        counted = _Counted(plain, tree)
        with tarfile.open(fileobj=counted, mode="r:") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # or an archive of many files fills the memory
                counted.member = member.name
                _add_tar_member(tar, member, tree)
            if counted.last.strip(b"\0"):
                raise tarfile.ReadError(f"no header after member {counted.member!r}")
            while counted.read(BLOCK):
                pass  # the checksum of the compressed file comes last


def _add_tar_member(tar: tarfile.TarFile, member: tarfile.TarInfo, tree: Tree) -> None:
    if member.isdir():
        tree.folder(member.name)
    elif member.issym():
        tree.link(member.name, member.linkname)
    elif member.islnk():
        tree.hard_link(member.name, member.linkname)
    elif member.isreg():
        source = tar.extractfile(member)
        assert source is not None
        tree.file(member.name, source, counted=not member.issparse())
    else:
        raise tree.refuse(member.name, "is a device, a pipe or of an unknown kind")


def _unpack_zip(archive: Path, tree: Tree) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            _add_zip_member(file, member, tree)


def _add_zip_member(file: zipfile.ZipFile, member: zipfile.ZipInfo, tree: Tree) -> None:
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    if member.flag_bits & 1:
        raise tree.refuse(name, "is encrypted")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise tree.refuse(name, "is a device, a pipe or of an unknown kind")
    if member.is_dir():
        tree.folder(name)
        return
    with file.open(member) as source:
        if kind == stat.S_IFLNK:
            tree.link(name, os.fsdecode(source.read(4096)))
        else:
            tree.file(name, source)
