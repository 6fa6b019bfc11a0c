"""Build a folder from the members of an archive that nobody vouches for, then move it into place."""

from __future__ import annotations

import errno
import filecmp
import logging
import os
import shutil
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

log = logging.getLogger(__name__)
MEMBERS, BYTES, RATIO = 2_000_000, 1 << 30, 100  # an archive with more, or that swells more, is refused
BLOCK = 1 << 20


class Refused(ValueError):
    """Say which member of which archive asks for what it must not."""


class Tree:
    """The members of an archive as they are written into an empty folder, checked one by one."""

    def __init__(self, archive: Path, root: Path) -> None:
        self.archive, self.root = archive, root
        self.room = self.bound = max(BYTES, RATIO * archive.stat().st_size)
        self.count = 0
        self.links: dict[PurePosixPath, str] = {}
        root.mkdir()

    def refuse(self, member: str, problem: str) -> Refused:
        """Build the error that names the archive and the member."""
        return Refused(f"{self.archive}: member {member[:200]!r} {problem}; nothing was unpacked")

    def spend(self, member: str, count: int) -> None:
        """Count what was unpacked against the bound."""
        self.room -= count
        if self.room < 0:
            raise self.refuse(
                member, f"swells the contents above {self.bound:,} bytes, too many for this archive"
            )

    def place(self, member: str) -> PurePosixPath:
        """Return the relative path of a member; ValueError where it leaves the folder."""
        self.count += 1
        if self.count > MEMBERS:
            raise self.refuse(member, f"is number {self.count:,}: an archive may have {MEMBERS:,}")
        path, windows = PurePosixPath(member), PureWindowsPath(member)
        if path.is_absolute() or windows.root or ".." in (*path.parts, *windows.parts) or "\0" in member:
            raise self.refuse(member, "would land outside of the folder")
        return path

    def folder(self, member: str) -> None:
        """Make a folder."""
        self._make(member, self.root / self.place(member))

    def file(self, member: str, source: IO[bytes], *, counted: bool = False) -> None:
        """Write a file; `counted` where the source itself counts what is read."""
        path = self.root / self.place(member)
        self._make(member, path.parent)
        if path.is_dir():
            raise self.refuse(member, "is a file and a folder at once")
        with path.open("wb") as target:
            while block := source.read(BLOCK):
                if not counted:
                    self.spend(member, len(block))
                target.write(block)

    def hard_link(self, member: str, target: str) -> None:
        """Give a file that was unpacked before a second name, as a copy."""
        source = self.root / self.place(target)
        if not source.is_file() or source == self.root / self.place(member):
            raise self.refuse(member, f"links to {target!r}, which is no earlier file of the archive")
        with source.open("rb") as file:
            self.file(member, file)

    def link(self, member: str, target: str) -> None:
        """Note a symbolic link; it is made at the end, so that nothing is ever written through one."""
        place, parts = self.place(member), PurePosixPath(target).parts
        ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
        outside = ups > len(place.parent.parts) or PurePosixPath(target).is_absolute()
        if outside or not target or ".." in parts[ups:] or "\0" in target:
            raise self.refuse(member, f"links to {target[:200]!r}, outside of the folder")
        self.links[place] = target

    def finish(self) -> None:
        """Make the links; one that stands where a file or folder is, or above one, is refused."""
        for place, target in self.links.items():
            path = self.root / place
            self._make(str(place), path.parent)
            if os.path.lexists(path) or any(parent in self.links for parent in place.parents):
                raise self.refuse(str(place), "is a link and a file or folder at once")
            os.symlink(target, path)

    def _make(self, member: str, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise self.refuse(member, "is a file and a folder at once") from error


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
