"""Show how far a long transfer is: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)
SMALL = 8 << 20  # bytes that arrive too soon to be worth a word
EVERY = 30.0  # seconds between log lines


@contextmanager
def progress(name: str, *, done: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield what to call with the number of bytes that each block brings; `total` is None where unknown."""
    if total is not None and total - done < SMALL:
        yield lambda count: None
    elif sys.stderr.isatty():
        with _bar(name, done=done, total=total) as advance:
            yield advance
    else:
        yield _lines(name, done=done, total=total)


@contextmanager
def _bar(name: str, *, done: int, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        "{task.description}",
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name.replace("[", r"\["), total=total, completed=done)
        yield lambda count: bars.advance(task, count)


def _lines(name: str, *, done: int, total: int | None) -> Callable[[int], None]:
    logged = time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, logged
        done += count
        if time.monotonic() - logged >= EVERY:
            logged = time.monotonic()
            share = "" if total is None else f" of {total / 1e6:,.0f} MB ({done / total:.0%})"
            log.info("%s: %s MB%s", name, f"{done / 1e6:,.0f}", share)

    return advance
