"""The one entry of every command: Hydra composes, the engine runs, errors end in one clear message."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import re
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fovea import errors
from fovea.config import groups, naming, resolvers
from fovea.config.command_line import bracketed, folders_beside, rewrite
from fovea.config.paths import CONF
from fovea.config.values import listed
from fovea.config.words import check_words
from fovea.files import printable, write_text

resolvers.register()

# Where the code of each command is: imported once it is known that the command line asks for it.
COMMANDS = {
    "train": "fovea.engine.train",
    "sweep": "fovea.sweep.sweep",  # train with -m: one job
    "eval": "fovea.engine.eval",
    "predict": "fovea.predict.command",
    "explain": "fovea.explain.command",
    "compare": "fovea.compare.command",
    "export": "fovea.export.command",
    "data": "fovea.inspect.command",
}

# Packages that the person at the keyboard lets in, beside what every config may call: FOVEA_PACKAGES=a,b
LET_IN = [name.strip() for name in os.environ.get("FOVEA_PACKAGES", "").split(",") if name.strip()]
PACKAGES = [f"{name}.*" for name in LET_IN if re.fullmatch(r"\w+(\.\w+)*", name)]
# What a config may call. A config can come from anybody, also out of a checkpoint, so nothing here runs code
# that it names, starts processes or fetches what it likes.
WHITELIST = [
    *PACKAGES,
    *(
        f"fovea.{p}.*"
        for p in ("models", "tasks", "optim", "metrics", "callbacks", "runs", "ops", "explain", "predict")
    ),
    "fovea.data.module.DataModule",
    "fovea.data.datasets.*",
    "torch.optim.*",
    "torch.nn.*",
    "torchvision.models.*",
    "torchvision.transforms.*",
    "torchmetrics.*",
    "timm.optim.*",
    "timm.loss.*",
    "timm.layers.*",
    "albumentations.*",
    "segmentation_models_pytorch.*",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.*",
    "lightning.pytorch.loggers.*",
    "lightning.pytorch.profilers.*",
    "lightning.pytorch.strategies.*",
    "lightning.pytorch.plugins.*",
    "lightning.fabric.plugins.environments.*",  # what those of lightning.pytorch are
    "optuna.samplers.*",
    "hydra_plugins.*",
    "hydra._internal.core_plugins.*",
    "fovea.sweep.sweep.SweepReport",
]
# What a call above may return: networks are callable, and Hydra checks those too.
RESULTS = ["timm.models.*"]
WIDTH = 120
# Groups that the help of a command leaves out: those of other commands, and what comes with a task.
HIDDEN = {"train": frozenset({"method", "metrics", "report"})}
LISTS = {
    "explain": ("run", "method", "model.name", "layer"),
    "eval": ("split", "checkpoint"),
    "compare": ("runs", "tags", "include"),
}  # keys for which a,b is a list, not a sweep


def command(name: str) -> None:
    """Run a command: its root config is `conf/<name>.yaml`, its code what COMMANDS names."""
    _open_streams()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors reach us whole; we print them once

    try:
        _check_folder()
        _check_packages()
        check_words(sys.argv[1:], name=name)
        groups.beside[:] = folders_beside(sys.argv[1:])
        if name == "train":
            naming.given[:] = sys.argv[1:]
            sys.argv[1:] = rewrite(sys.argv[1:])
        sys.argv[1:] = bracketed(sys.argv[1:], LISTS.get(name, ()))
        helps = {"-h", "--help"} & set(sys.argv[1:])
        with _narrow(HIDDEN.get(name, frozenset())) if helps else contextlib.nullcontext():
            _run(name)
        sweep = sys.modules.get(COMMANDS["sweep"])
        sys.exit(0 if sweep is None else sweep.exit_code)
    except errors.Interrupted as error:
        sys.exit(128 + error.signum)
    except BrokenPipeError:  # whoever read it, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:  # before the command has its own handler: while it composes or imports
        sys.stderr.write("stopped by SIGINT\n")
        sys.exit(128 + signal.SIGINT)
    except (HydraException, OmegaConfBaseException, errors.UsageError) as error:
        _fail(error, code=2)
    except Exception as error:
        before_training = name == "train" and isinstance(error, ValueError | FileNotFoundError)
        wrong = before_training or errors.config_path(error) is not None
        _fail(error, code=getattr(error, "fovea_code", 2 if wrong else 1))


def _check_folder() -> None:
    """Raise where the folder of the command is gone, from which every relative path would be read."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise errors.UsageError(
            "the folder you are in was deleted or renamed: cd to one that is there"
        ) from None


def _check_packages() -> None:
    """Raise for what is no name of a package, and for a package that Python does not find."""
    if len(PACKAGES) < len(LET_IN):
        raise errors.UsageError(f"FOVEA_PACKAGES={','.join(LET_IN)} must name packages: FOVEA_PACKAGES=a,b.c")
    for name in LET_IN:
        top = name.partition(".")[0]
        if importlib.util.find_spec(top) is None:
            raise errors.UsageError(
                f"FOVEA_PACKAGES={name}: Python finds no package {top}; name the folder that holds {top}/ "
                "before the command, PYTHONPATH=FOLDER (here: PYTHONPATH=.), or install it"
            )


def _open_streams() -> None:
    """Open those of the three standard streams that are closed, as a daemon's are, on nothing."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - it lives as long
            if getattr(sys, name).fileno() != number:
                os.dup2(getattr(sys, name).fileno(), number)


def _run(name: str) -> None:
    """Have Hydra compose the config and hand it to the command's code."""
    stopped: list[BaseException] = []

    def job(config: DictConfig) -> float | None:
        sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
        code = COMMANDS["sweep" if sweeping and name == "train" else name]
        try:
            given = list(HydraConfig.get().overrides.task)
            if any("+" in word.partition("=")[0] for word in given):
                from fovea.config.unread import refuse_unread

                refuse_unread(config, given, allowed=WHITELIST)
            if "last" in listed(config, "run"):
                from fovea.runs.newest import named_last

                config.run = named_last(config.run, Path(str(config.paths.logs)))
            from fovea.config.given import check_given

            in_groups = [word for word in given if name == "train" or "." in word.partition("=")[0]]
            check_given(config, in_groups, choices=HydraConfig.get().runtime.choices)
            if name != "train":
                from fovea.config.arguments import check_arguments

                check_arguments(config, given, name=name)
            return importlib.import_module(code).main(config)
        except (Exception, errors.Interrupted) as error:
            if sweeping:  # perhaps in a launcher's process: only Hydra can carry it to the sweep's
                raise
            stopped.append(error)  # raised again outside Hydra, which would print it too
            return None

    hydra.main(config_path=str(CONF), config_name=name, execution_whitelist=[*WHITELIST, *RESULTS])(job)()
    if stopped:
        raise stopped[0]


@contextlib.contextmanager
def _narrow(hidden: frozenset[str]) -> Iterator[None]:
    """Break what is printed into lines of at most WIDTH columns; leave out groups without a choice here."""
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            yield
    finally:
        for line in _side_by_side(text.getvalue().rstrip().splitlines(), hidden):
            sys.stdout.write(
                textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False) + "\n"
            )


def _side_by_side(lines: list[str], hidden: frozenset[str]) -> list[str]:
    """Return the lines of a help, those of groups folded, the longest first and short ones joined."""
    before: list[str] = []
    groups: list[str] = []
    after: list[str] = []
    for line in lines:
        name, _, names = line.partition(": ")
        if not re.fullmatch(r"[a-z]+: [\w, ]+", line) or not (CONF / name).is_dir():
            (after if groups else before).append(line)
        elif name not in hidden and "," in names:
            groups.append(f"{name}: {fold(names.split(', '))}")
    rows: list[str] = []
    for line in sorted(groups, key=len, reverse=True):
        room = (i for i, row in enumerate(rows) if len(row) + len(line) + 3 <= WIDTH)
        at = next(room, len(rows))
        rows[at:] = [f"{rows[at]} · {line}", *rows[at + 1 :]] if at < len(rows) else [line]
    return [*before, *rows, *after]


def fold(names: list[str]) -> str:
    """Write names that begin alike as one, as a shell does: `cnn_{digits,fashion}`, nested where it helps."""
    return ", ".join(_folded(names))


def _folded(names: list[str]) -> list[str]:
    ends: dict[str, list[str]] = {}
    for name in names:
        start, _, end = name.partition("_")
        ends.setdefault(start, []).append(end)
    words = []
    for start, rest in ends.items():
        words += [start] * ("" in rest)
        inner = _folded([end for end in rest if end])
        if inner:
            words.append(f"{start}_{inner[0]}" if len(inner) == 1 else f"{start}_{{{','.join(inner)}}}")
    return words


def _fail(error: BaseException, *, code: int) -> None:
    if errors.wants_traceback():
        sys.stderr.write(printable(errors.details(error)))
    if not getattr(error, "fovea_reported", False):
        from fovea.config.help import advice

        message = advice(error, sys.argv[1:])
        sys.stderr.write(printable(f"error: {message}\n"))
        if errors.FILE in os.environ:  # a job of a sweep: the table says why it failed
            write_text(Path(os.environ[errors.FILE]), message)
    sys.exit(code)
