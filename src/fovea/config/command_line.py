"""Rewrite a command line before Hydra sees it, so that overrides mean what their users expect."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from pathlib import Path

from hydra._internal.utils import get_args_parser

from fovea.config.group_reset import own_values
from fovea.config.node_reset import with_deleted_values, with_whole_nodes
from fovea.config.overrides import CommandLine, parse, quote
from fovea.config.paths import CONF
from fovea.config.study import fitted
from fovea.errors import UsageError


def rewrite(argv: list[str], *, conf: Path = CONF) -> list[str]:
    """Return `argv` with what `sweep=`, `-m` and a group chosen after an experiment imply.

    What it returns is left as it is by another pass: a distributed run repeats its command line as rewritten.
    A job of a sweep takes the preset of its sweep with `sweep=NAME hydra.mode=RUN`.
    """
    line = parse(argv)
    presets = [o for o in line.overrides if o.key_or_group == "sweep" and o.value() is not None]
    if len(presets) > 1 or any(o.is_sweep_override() for o in presets):
        raise UsageError("sweep= takes one preset at a time; start one command for each")
    if line.multirun or (presets and line.choice("hydra.mode") != "RUN"):
        _refuse_in_sweep(line)
        left_out = fitted(line, conf=conf)
        argv = with_deleted_values(argv, line, conf=conf)
        return [*argv, *([] if line.multirun else ["-m"]), *_sweep_name(line), *left_out]
    _refuse_in_run(line)
    return [*with_whole_nodes(argv, line, conf=conf), *own_values(line, conf=conf)]


def folders_beside(argv: list[str]) -> list[str]:
    """Return the folders of configs that a command line names beside `conf/`."""
    line = parse(argv)
    named = get_args_parser().parse_known_args(line.flags)[0].config_dir
    found = [named] if named else []
    for override in line.overrides:
        folders = override.value()
        if override.key_or_group == "hydra.searchpath" and isinstance(folders, list):
            found += map(str, folders)
    return found


def bracketed(argv: list[str], keys: Collection[str]) -> list[str]:
    """Return `argv` with `key=a,b` written `key=[a,b]` for these keys, which Hydra takes for a sweep else."""
    return [_bracketed(word) if word.partition("=")[0] in keys else word for word in argv]


def _bracketed(word: str) -> str:
    key, _, value = word.partition("=")
    if "," not in value or value[0] in "[{'\"" or "(" in value:
        return word
    parts = [part.strip() for part in value.split(",") if part.strip()]
    words = [part if re.fullmatch(r"[A-Za-z_./][\w./-]*", part) else quote(part) for part in parts]
    return f"{key}=[{','.join(words)}]"


def _refuse_in_sweep(line: CommandLine) -> None:
    swept = any(o.is_sweep_override() or o.key_or_group.startswith("hydra.sweeper") for o in line.overrides)
    if not swept and line.choice("sweep") is None:
        sys.stderr.write(
            "warning: nothing is swept, so -m runs one job; give several values, such as "
            "optimizer.lr=1e-3,1e-2, or a study: sweep=lr\n"
        )
    if line.given("run_dir"):
        raise UsageError("run_dir= names the directory of one run; a sweep's directory is sweep_dir=DIR")
    if line.given("hydra.sweep"):
        raise UsageError("the directory of a sweep is sweep_dir=DIR; hydra.sweep follows it")
    if line.given("resume"):
        raise UsageError("a sweep is continued by starting it again with sweep_dir=DIR, without resume=")


def _refuse_in_run(line: CommandLine) -> None:
    if line.given("hydra.sweep") or line.given("hydra.run"):
        raise UsageError("the directory of a run is run_dir=DIR, that of a sweep -m … sweep_dir=DIR")
    for key in ("sweep_dir", "sweep_name"):
        if line.given(key):
            raise UsageError(
                f"{key}= belongs to a sweep: add -m; the directory of a single run is run_dir=DIR"
            )


def _sweep_name(line: CommandLine) -> list[str]:
    swept = [o for o in line.overrides if o.key_or_group == "experiment" and o.is_sweep_override()]
    if not swept or line.given("sweep_name") or not swept[-1].is_discrete_sweep():
        return []
    names = (str(v).replace("/", "_") for v in swept[-1].sweep_string_iterator())
    return [f"sweep_name={quote('+'.join(names))}"]
