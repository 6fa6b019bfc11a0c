"""The run directory: claimed by one run, written whole, readable at any moment."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fovea.errors import UsageError
from fovea.files import remove_drafts, replacing, write_json, write_text
from fovea.reading import read_yaml
from fovea.runs.summary_file import read_summary_file

# What a run writes into its directory; nothing else there is ever deleted.
FILES = ("config.yaml", "summary.json", "metrics.csv", "layers.csv", "init.csv", "report.html", "train.log")
FOLDERS = ("checkpoints", "predictions", "figures", "images")
_held: set[int] = set()  # descriptors whose locks this process holds


def _leave_to_parent() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_parent)  # a worker that outlives its run must not hold the lock


def claim(path: str | Path, *, fixed: bool) -> Path:
    """Create the directory of a new run, atomically; a default name that is taken gets a number.

    A `fixed` one (given by the user) that already holds a run, or files of the names that a run writes, is
    refused, so that nothing is overwritten.
    """
    base, n = Path(path), 1
    while True:
        run_dir = base if n == 1 else base.with_name(f"{base.name}_{n}")
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = _in_the_way(run_dir) or f"{error.filename}: {error.strerror}"
            raise UsageError(
                f"run_dir={path} cannot be made ({why}); choose another run_dir, or another place for all "
                "runs by paths.logs=DIR"
            ) from None
        taken = [n for n in (*FILES, *FOLDERS) if n != "config.yaml" and os.path.lexists(run_dir / n)]
        if fixed and taken and not os.path.lexists(run_dir / "config.yaml"):
            raise UsageError(
                f"{run_dir} holds {', '.join(taken)}, which a run would overwrite; choose another run_dir"
            )
        try:
            os.close(os.open(run_dir / "config.yaml", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            return run_dir
        except FileExistsError:
            if fixed:
                with hold(run_dir):  # says so where it is running
                    pass
                raise UsageError(
                    f"{run_dir} already holds a run; continue it with resume=true, or choose another run_dir"
                ) from None
            n += 1


def _in_the_way(path: Path) -> str | None:
    """Say what on the way to a directory is none."""
    for place in (path, *path.absolute().parents):
        if os.path.lexists(place):
            kind = "a link to nothing" if place.is_symlink() and not place.exists() else "a file"
            return None if place.is_dir() else f"{place} is {kind}"
    return None


@contextlib.contextmanager
def hold(run_dir: Path) -> Iterator[None]:
    """Keep every other process from writing this run; the lock goes with the process, however that ends.

    Raises:
        UsageError: another process holds it.
    """
    descriptor = os.open(run_dir, os.O_RDONLY)
    try:
        if not try_lock(descriptor):
            known = read_summary(run_dir).get("process")
            pid = known.get("pid") if isinstance(known, dict) else None
            who = "is being set up" if pid is None else f"is running (pid {pid})"
            raise UsageError(f"{run_dir} {who}; wait for it or stop it, or choose another run_dir")
        _held.add(descriptor)
        yield
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock without waiting; a file system without locks protects nothing and stops nobody."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def check_kinds(run_dir: Path) -> None:
    """Raise a UsageError where something else stands in the place of a file or folder that a run writes."""
    inside = [path for name in FOLDERS for path in sorted((run_dir / name).glob("*.*"))]
    for path in (*(run_dir / name for name in (*FILES, *FOLDERS)), *inside):
        kind = "folder" if path.name in FOLDERS else "file"
        linked = path.is_symlink() and path not in inside  # those inside are replaced, never followed
        if os.path.lexists(path) and (linked or not (path.is_dir() if kind == "folder" else path.is_file())):
            what = "a link" if linked else f"no regular {kind}"
            raise UsageError(f"{path} is {what}: put a {kind} there as a run writes it, or delete it")


def saved_state(run_dir: Path) -> dict[str, bytes]:
    """Return what `give_back` needs to leave a run as it is now: nothing of one that is new."""
    files = {name: run_dir / name for name in ("config.yaml", "summary.json")}
    return {name: file.read_bytes() for name, file in files.items() if file.is_file()}


def give_back(run_dir: Path, before: dict[str, bytes], *, keep: bool = False) -> str:
    """Leave no trace of an attempt that trained nothing; return what became of the directory.

    Args:
        run_dir: the directory.
        before: what `saved_state` returned of a run that is resumed; empty for a new one.
        keep: whether the directory itself was there before.
    """
    remove_drafts(run_dir)
    if before:
        for name, content in before.items():
            with replacing(run_dir / name) as draft:
                draft.write_bytes(content)
        if "summary.json" not in before:
            (run_dir / "summary.json").unlink(missing_ok=True)
        return f"{run_dir} is as it was"
    for name in FILES:
        (run_dir / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something of somebody else's is in it
        if not keep:
            run_dir.rmdir()
    return f"{run_dir} is free again"


def write_config(run_dir: Path, config: DictConfig) -> None:
    """Write the resolved config."""
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(config, resolve=True))


def read_config(run_dir: Path) -> DictConfig:
    """Read the resolved config of a run."""
    file = run_dir / "config.yaml"
    if not file.is_file():
        found = (
            ", ".join(sorted(p.name for p in run_dir.iterdir())[:8])
            if run_dir.is_dir()
            else "no such directory"
        )
        raise UsageError(
            f"{run_dir} is not a run directory: it has no config.yaml ({found or 'it is empty'})"
        )
    try:
        plain = read_yaml(file)
    except (ValueError, OSError) as error:
        raise UsageError(f"{error}: restore it, or start a new run") from None
    config = None if not isinstance(plain, dict) or "task" not in plain else OmegaConf.create(plain)
    if config is None:
        raise UsageError(f"{file} is empty: the run in {run_dir} ended before it was set up; start a new one")
    return config


def read_strangers_config(run_dir: Path) -> DictConfig:
    """Read the config of a run that may come from anybody, through the gate."""
    from fovea.config import gate

    config = read_config(run_dir)
    gate.check(OmegaConf.to_container(config), source=run_dir / "config.yaml")
    return config


def move(config: DictConfig, run_dir: Path) -> DictConfig:
    """Return the config with every path inside the run directory following it to `run_dir`."""
    old, new = str(config.run_dir), str(run_dir)
    return OmegaConf.create(replaced(OmegaConf.to_container(config), old, new))


def replaced(node: Any, old: str, new: str) -> Any:
    """Return plain containers with every path that is or lies in `old` put into `new`."""
    if isinstance(node, dict):
        return {k: replaced(v, old, new) for k, v in node.items()}
    if isinstance(node, list):
        return [replaced(v, old, new) for v in node]
    inside = isinstance(node, str) and (node == old or node.startswith(f"{old}/"))
    return new + node[len(old) :] if inside else node


def write_summary(run_dir: Path, summary: dict[str, Any]) -> None:
    """Write `summary.json`; non-finite numbers become null, which every JSON reader takes."""
    write_json(run_dir / "summary.json", summary)


def read_summary(run_dir: Path) -> dict[str, Any]:
    """Read `summary.json` of a run in any state; a run whose process is gone without a word was killed."""
    try:
        summary = read_summary_file(run_dir / "summary.json")
    except (OSError, ValueError):
        summary = {}
    if not summary.get("status"):
        return {"metrics": {}, **summary, "status": "interrupted", "error": "killed before it was set up"}
    if summary.get("status") == "running" and not _alive(summary):
        summary |= {"status": "interrupted", "error": "killed"}
    return summary


def _alive(summary: dict[str, Any]) -> bool:
    """Whether the process that wrote the summary runs; one on another host counts while it keeps writing."""
    import psutil

    process = summary.get("process")
    try:
        if process["host"] != os.uname().nodename:  # type: ignore[index]
            return abs(time.time() - float(process["written"])) < 3600  # type: ignore[index]
        started = psutil.Process(int(process["pid"])).create_time()  # type: ignore[index]
        return abs(started - float(process["started"])) < 2  # type: ignore[index]
    except (KeyError, TypeError, ValueError, psutil.Error):
        return False


def process() -> dict[str, Any]:
    """Identify this process, so that a reader can tell a live run from a killed one."""
    import psutil

    me = psutil.Process()
    return {"pid": me.pid, "host": os.uname().nodename, "started": me.create_time(), "written": time.time()}
