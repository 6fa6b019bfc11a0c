"""End in an orderly way: on a signal, and all processes of a distributed run together."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from fovea.engine.distributed import LEADER, error_note
from fovea.errors import Interrupted, ProcessFailed

if TYPE_CHECKING:
    from lightning.pytorch import Callback

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 5.0  # seconds for a process to end by itself
LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "gloo",
    "NCCL",
    "ProcessGroup",
)


class stop_signals:
    """Turn Ctrl-C, SIGTERM and a closed terminal into `Interrupted`; a second one has its usual effect.

    A process that was told to outlive its terminal (nohup) does.

    A library that is stopped while it cleans up may end with an error of its own: it is `Interrupted` too.
    """

    _stopped: Interrupted | None = None

    def __enter__(self) -> None:
        self._pid = os.getpid()
        self._old = {s: signal.signal(s, self._stop) for s in SIGNALS if not _outlives(s)}

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a worker of a data loader, forked with this handler; the run ends it
            if signum == signal.SIGTERM:
                os._exit(0)
            return
        for s in self._old:
            signal.signal(s, signal.SIG_DFL)
        self._stopped = Interrupted(signum)
        raise self._stopped

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for s, handler in self._old.items():
            signal.signal(s, handler if self._stopped is None else signal.SIG_DFL)
        if self._stopped is not None and isinstance(error, Exception):  # what a library made of it
            raise self._stopped from None


def _outlives(signum: int) -> bool:
    return signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN


class ChildProcesses:
    """The processes that this one started for a distributed run; `on_failure` hears why it has to die."""

    def __init__(self, on_failure: Callable[[ProcessFailed], None] | None = None) -> None:
        self.on_failure = on_failure
        self._others: list[subprocess.Popen[bytes]] = []
        self._ending = False

    def watch(self, others: list[subprocess.Popen[bytes]]) -> None:
        """Watch them in the Trainer's place, whose observer kills this process before it can say why."""
        self._others = list(others)
        others.clear()  # the observer shares the list, and ends when it is empty
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._ending and not self._failed():
            time.sleep(0.2)
        self._wait(lambda: self._ending)  # this process notices by itself where it waits for the other
        if not self._ending:
            os.kill(os.getpid(), signal.SIGTERM)
            self._wait(lambda: self._ending)
        if not self._ending:  # it hangs in a collective operation, out of reach of signals
            if self.on_failure is not None:
                self.on_failure(self._failure())
            self.end()
            os._exit(1)

    def attribute_failure(self, error: BaseException) -> BaseException:
        """Return `error`, or the failure of another process that brought it about."""
        self._ending = True
        stopped = isinstance(error, Interrupted) and error.signum == signal.SIGTERM and self._failed()
        lost = isinstance(error, RuntimeError) and any(word in str(error) for word in LOST)
        if not self._others or not (stopped or lost):
            return error
        self._wait(self._failed)
        return self._failure() if self._failed() else error

    def end(self, *, grace: float = 2.0) -> None:
        """End the other processes; kill those that do not end in time."""
        self._ending = True
        for other in self._others:
            other.terminate()
        self.join(grace=grace)

    def join(self, *, grace: float = 60.0) -> None:
        """Wait for the other processes to end; kill those that do not."""
        self._ending = True
        end = time.monotonic() + grace
        for other in self._others:
            try:
                other.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                other.kill()
                other.wait()

    def _failed(self) -> list[tuple[int, int]]:
        """Return (rank, exit code) of each process that failed; those that our signals ended did not."""
        codes = [(rank, other.poll()) for rank, other in enumerate(self._others, 1)]
        return [(rank, code) for rank, code in codes if code not in (None, 0, 129, 130, 143)]

    def _failure(self) -> ProcessFailed:
        rank, code = self._failed()[0]
        note = error_note(rank)
        if note.is_file():
            text = note.read_text(encoding="utf-8")
            note.unlink()
            return ProcessFailed(f"in the process of rank {rank}: {text}")
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return ProcessFailed(f"the process of rank {rank} {how}")

    @staticmethod
    def _wait(ready: Callable[[], object]) -> None:
        end = time.monotonic() + GRACE
        while not ready() and time.monotonic() < end:
            time.sleep(0.1)


def follow_parent() -> None:
    """End this process when the one that started it is gone, were it before this was called."""
    parent = int(os.environ.get(LEADER, os.getppid()))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def callback(children: ChildProcesses) -> Callback:
    """Return the callback that takes signals and processes back from the Trainer."""
    import lightning.pytorch as L

    class Processes(L.Callback):
        """Keep our signal handlers: the Trainer's talk to processes that may not listen, and hang."""

        def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
            if threading.current_thread() is threading.main_thread():
                self._handlers = {s: signal.getsignal(s) for s in SIGNALS}
            others = getattr(trainer.strategy.launcher, "procs", None)
            if others:
                children.watch(others)

        def _keep(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            for s, handler in getattr(self, "_handlers", {}).items():
                signal.signal(s, handler)

        on_train_start = on_test_start = _keep

    return Processes()
