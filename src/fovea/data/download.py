"""Fetch files over the network: checked, atomic, and never hanging."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import tarfile
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

log = logging.getLogger(__name__)
CHUNK = 1 << 20


def timeout() -> float:
    """Return the seconds to wait for a silent server: FOVEA_TIMEOUT, 10 by default."""
    return float(os.environ.get("FOVEA_TIMEOUT", "10"))


def not_found(*, name: str, path: Path, page: str, reason: str = "") -> FileNotFoundError:
    """Build the one error for missing data: what, where, how to get it, what to run instead."""
    return FileNotFoundError(
        f"{name} not found: looked for {path}.{f' {reason}' if reason else ''}\n"
        f"  download it:    add data.download=true\n"
        f"  or by hand:     {page}\n"
        f"  elsewhere:      point data.root at the folder that holds it\n"
        f"  or run offline: python src/train.py experiment=vit_digits (its images are already installed)"
    )


def digest(path: Path, *, kind: str = "sha256") -> str:
    """Hash a file in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def check(path: Path, *, expected: str) -> None:
    """Raise ValueError unless the file has this md5 (32 digits) or sha256 (64 digits)."""
    found = digest(path, kind="md5" if len(expected) == 32 else "sha256")
    if found != expected:
        raise ValueError(f"{path.name} is damaged: its checksum is {found}, expected {expected}")


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        write(Path(name))
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def fetch(urls: Sequence[str], path: Path, *, expected: str) -> None:
    """Download the first URL that works and matches its checksum; OSError when none does."""
    problems = []
    for url in urls:
        try:
            log.info("downloading %s", url)
            write_atomic(path, partial(_receive, url, expected=expected))
            return
        except (OSError, ValueError) as error:
            problems.append(f"{url}: {error}")
    raise OSError("; ".join(problems))


def _receive(url: str, part: Path, expected: str) -> None:
    _resolve(urllib.parse.urlsplit(url))
    request = urllib.request.Request(url, headers={"User-Agent": "fovea"})
    with urllib.request.urlopen(request, timeout=timeout()) as reply, part.open("wb") as file:
        while block := reply.read(CHUNK):
            file.write(block)
    check(part, expected=expected)


def _resolve(parts: urllib.parse.SplitResult) -> None:
    """Look the host up under our own time limit: the socket timeout does not cover name resolution."""
    if urllib.request.getproxies() or parts.hostname is None:
        return
    problem: list[OSError] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(parts.hostname, parts.port or parts.scheme)
        except OSError as error:
            problem.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(timeout())
    if thread.is_alive():
        raise TimeoutError(f"no answer about {parts.hostname} within {timeout():g} s")
    if problem:
        raise problem[0]


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar file below `folder`; members that would land outside are refused."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=folder, prefix=".part") as part:
        tar.extractall(part, filter="data")
        for entry in sorted(Path(part).iterdir()):
            entry.replace(folder / entry.name)
