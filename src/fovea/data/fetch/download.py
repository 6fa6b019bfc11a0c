"""Fetch files and archives over the network: checked, atomic, resumed after a break, and never hanging."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fovea.data.fetch.archive import extract
from fovea.data.fetch.progress import progress

log = logging.getLogger(__name__)
CHUNK = 1 << 20
TRIES, PAUSE = 5, 1.0  # a transfer that breaks goes on after 1, 2, 4 and 8 seconds
BUSY = {408, 425, 429, 500, 502, 503, 504}  # a server that answers so may do better soon


def timeout() -> float:
    """Return the seconds to wait for a silent server: FOVEA_TIMEOUT, 10 by default."""
    return float(os.environ.get("FOVEA_TIMEOUT", "10"))


def digest(path: Path, *, kind: str = "sha256") -> str:
    """Hash a file in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def check(path: Path, *, expected: str, name: str = "") -> None:
    """Raise ValueError unless the file (called `name`) has this md5 (32 digits) or sha256 (64 digits)."""
    found = digest(path, kind="md5" if len(expected) == 32 else "sha256")
    if found != expected:
        raise ValueError(f"{name or path.name} is damaged: its checksum is {found}, expected {expected}")


def _check_placed(path: Path, *, expected: str) -> None:
    try:
        check(path, expected=expected, name=str(path))
    except ValueError as error:
        raise ValueError(
            f"{error}. It is no copy of the published file, and is not used: delete it, or move it away, and "
            "data.download=true gets it again"
        ) from None


def fetch(urls: Sequence[str], path: Path, *, expected: str) -> None:
    """Download the first URL that works and matches its md5 or sha256, unless the file is there already.

    What arrived before a break stays in `<path>.part` and is continued by the next attempt or the next call.

    Raises:
        OSError: no URL works.
        ValueError: the file that is there has another checksum; it is somebody's, and stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    problems = []
    with _claimed(path) as part:
        if path.is_file():  # placed by hand, or another process has fetched it meanwhile
            return _check_placed(path, expected=expected)
        for url in urls:
            try:
                log.info("downloading %s", url)
                _complete(url, part, expected=expected, name=path.name)
                os.replace(part, path)
                return
            except (OSError, ValueError, http.client.HTTPException) as error:
                problems.append(f"{url}: {error}")
    raise OSError("; ".join(problems))


def install(url: str, archive: Path, *, expected: str, folder: Path) -> None:
    """Unpack an archive below `folder`; one downloaded for it is deleted, one placed by hand stays."""
    placed = archive.is_file()
    fetch([url], archive, expected=expected)
    extract(archive, folder)
    if not placed:
        archive.unlink()


@contextmanager
def _claimed(path: Path) -> Iterator[Path]:
    """Yield the partial file of `path`, locked against other processes; they wait, and then find `path`."""
    part, lock = path.with_name(f"{path.name}.part"), -1
    try:
        lock = _lock(part)
    except (OSError, ImportError) as error:
        log.debug("%s cannot be locked (%s): using a file of our own", part, error)
        part = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.part")
        part.touch()
    try:
        yield part
    finally:
        if part.is_file() and (lock < 0 or not part.stat().st_size):
            part.unlink()  # empty, or one that nobody would ever go on with
        if lock >= 0:
            os.close(lock)


def _lock(part: Path) -> int:
    import fcntl

    while True:
        lock = os.open(part, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that downloads %s", part.stem)
            fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), part.stat()):
                return lock
        os.close(lock)  # its former owner has finished and moved the file away


def _complete(url: str, part: Path, *, expected: str, name: str) -> None:
    """Fill the partial file until it has its checksum; a wrong one is emptied."""
    continued = part.stat().st_size > 0
    _patiently(url, part)
    try:
        check(part, expected=expected, name=name)
    except ValueError as error:
        os.truncate(part, 0)  # not removed: the lock is on this file
        if not continued:
            raise ValueError(f"{error}; what was downloaded has been deleted") from error
        log.warning("%s: the continued download is damaged, starting it again", name)
        _complete(url, part, expected=expected, name=name)


def _patiently(url: str, part: Path) -> None:
    """Receive a file, going on after a break; a server that never answers is not asked again."""
    for attempt in range(TRIES):
        before = part.stat().st_size
        try:
            return _receive(url, part)
        except (OSError, http.client.HTTPException) as error:
            code = getattr(error, "code", None)
            if code == 416 and before:
                return None  # nothing lacks; the checksum decides
            cause = getattr(error, "reason", error)
            broke = part.stat().st_size != before or isinstance(cause, ConnectionResetError)
            if attempt == TRIES - 1 or not (broke or code in BUSY):
                raise
            log.info("%s: %s, trying again", url, error)
            time.sleep(PAUSE * 2**attempt)


def _receive(url: str, part: Path) -> None:
    """Append what the partial file lacks; a server that cannot continue a file sends it from its start."""
    _resolve(urllib.parse.urlsplit(url))
    at = part.stat().st_size
    headers = {"User-Agent": "fovea"} | ({"Range": f"bytes={at}-"} if at else {})
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=timeout()) as reply, part.open("r+b") as file:
        goes_on = reply.status == 206 and reply.headers.get("Content-Range", "").startswith(f"bytes {at}-")
        at = file.truncate(at if goes_on else 0)
        if reply.status == 206 and not goes_on:
            raise ConnectionResetError("the server sent another part than was asked for")
        file.seek(at)
        length = reply.headers.get("Content-Length")
        total = None if length is None else at + int(length)
        with progress(part.name.removesuffix(".part"), done=at, total=total) as advance:
            while block := reply.read1(CHUNK):
                advance(file.write(block))
        if total is not None and file.tell() < total:
            raise ConnectionResetError(f"the connection broke after {file.tell():,} of {total:,} bytes")


def _resolve(parts: urllib.parse.SplitResult) -> None:
    """Resolve the host name under our own time limit, which the socket timeout does not cover."""
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
