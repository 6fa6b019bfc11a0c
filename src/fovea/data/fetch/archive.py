"""Unpack archives that were downloaded, trusting nothing that they say."""

from __future__ import annotations

import bz2
import errno
import filecmp
import gzip
import io
import logging
import lzma
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

log = logging.getLogger(__name__)
OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zX": lzma.open}
DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error, RuntimeError,
    ValueError, LookupError,
)  # fmt: skip
MEMBERS, BYTES, RATIO = 2_000_000, 1 << 30, 100  # an archive with more, or that swells more, is refused
BLOCK = 1 << 20
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
        root = Path(temporary) / "tree"
        root.mkdir()
        _unpack(archive, Guard(archive, root.resolve()))
        folder.parent.mkdir(parents=True, exist_ok=True)
        merge(root, folder)


class Refused(ValueError):
    """A member of an archive is refused; the message names the archive, the member and the reason."""


class Guard:
    """Write the members of an archive below `root`, an empty folder, each after a check.

    Names are judged as they are written and links are made last, so that nothing ever goes through one.
    `tarfile.data_filter` resolves links instead, in older Pythons wrongly (CVE-2025-4517), and zip files have
    no such filter.
    """

    def __init__(self, archive: Path, root: Path) -> None:
        self.archive, self.root = archive, root
        self.room = self.bound = max(BYTES, RATIO * archive.stat().st_size)
        self.count = 0
        self.member = "(first header)"
        self.links: dict[PurePosixPath, str] = {}

    def refuse(self, problem: str) -> Refused:
        """Build the error that names the archive and the member."""
        return Refused(f"{self.archive}: member {self.member[:200]!r} {problem}; nothing was unpacked")

    def spend(self, count: int) -> None:
        """Count what was unpacked against the bound."""
        self.room -= count
        if self.room < 0:
            raise self.refuse(f"swells the contents above {self.bound:,} bytes, too many for this archive")

    def place(self, member: str) -> Path:
        """Return where a member goes; Refused where that is outside of the folder."""
        self.member = member
        self.count += 1
        if self.count > MEMBERS:
            raise self.refuse(f"is number {self.count:,}: an archive may have {MEMBERS:,}")
        path, windows = PurePosixPath(member), PureWindowsPath(member)
        if path.is_absolute() or windows.root or ".." in (*path.parts, *windows.parts) or "\0" in member:
            raise self.refuse("would land outside of the folder")
        return self.root / path

    def folder(self, member: str) -> None:
        """Make a folder."""
        self.place(member).mkdir(parents=True, exist_ok=True)

    def file(self, member: str, source: IO[bytes], *, counted: bool = False) -> None:
        """Write a file; `counted` where the source itself counts what is read."""
        path = self.place(member)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as target:
            while block := source.read(BLOCK):
                if not counted:
                    self.spend(len(block))
                target.write(block)

    def hard_link(self, member: str, target: str) -> None:
        """Copy an earlier file, for a hard link."""
        source = self.place(target)
        if source == self.place(member) or not source.is_file():
            raise self.refuse(f"links to {target!r}, which is not an earlier file of the archive")
        with source.open("rb") as file:
            self.file(member, file)

    def link(self, member: str, target: str) -> None:
        """Note a symbolic link; Refused where it leads outside of the folder."""
        place, parts = self.place(member).relative_to(self.root), PurePosixPath(target).parts
        ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
        outside = ups > len(place.parent.parts) or PurePosixPath(target).is_absolute()
        if outside or not target or ".." in parts[ups:] or "\0" in target:
            raise self.refuse(f"links to {target[:200]!r}, outside of the folder")
        self.links[PurePosixPath(place)] = target

    def make_links(self) -> None:
        """Make the links; Refused where one stands in place of a file or folder, or behind another."""
        for place, target in self.links.items():
            path, self.member = self.root / place, str(place)
            path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path) or path.parent.resolve() != path.parent:
                raise self.refuse("is a link and a file or folder at once")
            os.symlink(target, path)


def _unpack(archive: Path, guard: Guard) -> None:
    try:
        (_unpack_zip if _start(archive) in (b"PK\x03\x04", b"PK\x05\x06") else _unpack_tar)(archive, guard)
        guard.make_links()
    except Refused:
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise guard.refuse("is a file and a folder at once") from error
    except (OSError, *DAMAGE) as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            raise guard.refuse("has a longer name than this disk takes") from error
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

    def __init__(self, file: IO[bytes], guard: Guard) -> None:
        self.guard, self.last = guard, b""
        self._read, self.seek, self.tell = file.read, file.seek, file.tell  # type: ignore[method-assign]

    def read(self, size: int = -1) -> bytes:
        """Read from the decompressed file."""
        if not 0 <= size <= HEADER:
            raise self.guard.refuse(f"is followed by a header of {size:,} bytes")
        self.last = self._read(size)
        self.guard.spend(len(self.last))
        return self.last


def _unpack_tar(archive: Path, guard: Guard) -> None:
    start = _start(archive)
    opener = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), open)
    with opener(archive, "rb") as plain:
        counted = _Counted(plain, guard)
        with tarfile.open(fileobj=counted, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # or an archive of many files fills the memory
                _add_tar_member(tar, member, guard)
            if counted.last.strip(b"\0"):
                raise tarfile.ReadError(f"no header after member {guard.member!r}")
            while counted.read(BLOCK):
                pass  # the checksum of the compressed file comes last


def _add_tar_member(tar: tarfile.TarFile, member: tarfile.TarInfo, guard: Guard) -> None:
    guard.member = member.name
    if member.isdir():
        guard.folder(member.name)
    elif member.issym():
        guard.link(member.name, member.linkname)
    elif member.islnk():
        guard.hard_link(member.name, member.linkname)
    elif member.isreg() and (source := tar.extractfile(member)) is not None:
        guard.file(member.name, source, counted=not member.issparse())
    else:
        raise guard.refuse("is a device, a pipe or of an unknown kind")


def _unpack_zip(archive: Path, guard: Guard) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            guard.member, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
            if member.flag_bits & 1:
                raise guard.refuse("is encrypted")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                raise guard.refuse("is a device, a pipe or of an unknown kind")
            if member.is_dir():
                guard.folder(member.filename)
                continue
            with file.open(member) as source:
                if kind == stat.S_IFLNK:
                    guard.link(member.filename, os.fsdecode(source.read(4096)))
                else:
                    guard.file(member.filename, source)


def merge(source: Path, target: Path) -> None:
    """Move a tree into place, in one step where nothing is there; an earlier file that differs is kept."""
    if not os.path.lexists(target):
        _move(source, target)
    elif source.is_dir() and not source.is_symlink() and target.is_dir():
        for entry in sorted(source.iterdir()):
            merge(entry, target / entry.name)
    elif not _equal(source, target):
        _keep(target)
        _move(source, target)


def _move(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno == errno.EXDEV:  # the folder is a link to another disk
            shutil.move(source, target)
        elif target.is_dir() and source.is_dir():  # another process was faster
            merge(source, target)
        else:
            raise


def _equal(source: Path, target: Path) -> bool:
    if source.is_symlink() or target.is_symlink():
        return source.is_symlink() and target.is_symlink() and os.readlink(source) == os.readlink(target)
    return source.is_file() and target.is_file() and filecmp.cmp(source, target, shallow=False)


def _keep(path: Path) -> None:
    """Move an earlier file out of the way."""
    number, kept = 0, path.with_name(f"{path.name}.orig")
    while os.path.lexists(kept):
        number += 1
        kept = path.with_name(f"{path.name}.orig{number}")
    log.warning("%s differs from the one in the archive: it is kept as %s", path, kept.name)
    os.replace(path, kept)
