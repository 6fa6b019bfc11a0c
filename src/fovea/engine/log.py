"""Send messages to the terminal and to `train.log`."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path

from fovea.errors import wants_traceback
from fovea.files import open_end, printable

NOISE = (
    ".*sync_dist=True.*",
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    ".*in eval mode at the start of training.*",
    ".*Checkpoint directory .* exists.*",
    ".*isinstance.treespec.*",
    ".*lr_scheduler.step.*before.*optimizer.step.*",
    ".*You are using `torch.load`.*",
    ".*Total length of .* across ranks is zero.*",
)


class _Terminal(logging.Filter):
    """Our own messages, and other libraries' warnings."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name.startswith("fovea") or record.levelno >= logging.WARNING


class _File(logging.FileHandler):
    """A log that is never written through a link, and that a full disk only cuts short."""

    def _open(self) -> TextIOWrapper:
        return TextIOWrapper(
            os.fdopen(open_end(self.baseFilename), "ab"), encoding=self.encoding, errors=self.errors
        )

    def handleError(self, record: logging.LogRecord) -> None:
        """Stay silent: what could not be logged is no reason to say something else."""

    def close(self) -> None:
        """Close the file; what a full disk does not take of it is lost."""
        with contextlib.suppress(OSError):
            super().close()


class _Printable(logging.Formatter):
    """Messages with the control characters in names of files, classes and data escaped."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _Terse(_Printable):
    """Messages without the tracebacks that some have in train.log."""

    def format(self, record: logging.LogRecord) -> str:
        if not wants_traceback():
            record = copy.copy(record)
            record.exc_info = record.exc_text = None
        return super().format(record)


def configure(run_dir: Path | None) -> None:
    """Log to the terminal, and from now on to `run_dir/train.log` too."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(_Terse("%(message)s"))
    terminal.addFilter(_Terminal())
    root.addHandler(terminal)
    if run_dir is not None:
        file = _File(run_dir / "train.log", encoding="utf-8", errors="backslashreplace")
        file.setFormatter(_Printable("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(file)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING if name == "lightning" else logging.INFO)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)  # device listings and tips
    # our finders say what training uses, which need not be what the search ended with
    logging.getLogger("lightning.pytorch.tuner").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)
