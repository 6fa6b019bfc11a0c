"""Rewrite a command line before Hydra sees it, so that overrides mean what their users expect."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from fovea.config.paths import CONF
from fovea.errors import UsageError


@dataclass(frozen=True)
class CommandLine:
    """Flags and overrides of a command, in their order."""

    flags: list[str]
    overrides: list[Override]

    @property
    def multirun(self) -> bool:
        """Whether this is a sweep."""
        return any(_is_multirun(f) for f in self.flags) or self.choice("hydra.mode") == "MULTIRUN"

    def choice(self, key: str) -> str | None:
        """Return the single value given for `key`, the last one counting; None when absent or swept."""
        found = [o for o in self.overrides if o.key_or_group == key and not o.is_delete()]
        if not found or found[-1].is_sweep_override():
            return None
        value = found[-1].value()
        return None if value is None else str(value)

    def given(self, key: str) -> bool:
        """Whether `key`, or something inside it, is set or deleted."""
        return any(o.key_or_group == key or o.key_or_group.startswith(f"{key}.") for o in self.overrides)


def _is_multirun(flag: str) -> bool:
    return flag == "-m" or (len(flag) > 3 and "--multirun".startswith(flag))


def parse(argv: list[str]) -> CommandLine:
    """Split `argv` (without the program) into flags and overrides."""
    words = [a for a in argv if ("=" in a.split(" ")[0] or a.startswith("~")) and not a.startswith("-")]
    return CommandLine([a for a in argv if a not in words], OverridesParser.create().parse_overrides(words))


def rewrite(argv: list[str], *, conf: Path = CONF) -> list[str]:
    """Return `argv` with what `sweep=`, `-m` and a group chosen after an experiment imply.

    What it returns is left as it is by another pass: a distributed run repeats its command line as rewritten.
    """
    from fovea.config import group_reset as members

    line = parse(argv)
    extra: list[str] = []
    studies = [o for o in line.overrides if o.key_or_group == "sweep" and o.value() is not None]
    if studies:
        if len(studies) > 1 or studies[0].is_sweep_override():
            raise UsageError("sweep= takes one study at a time; start one command for each")
        if not line.multirun:
            extra.append("-m")
    if line.multirun or extra:
        _refuse_in_sweep(line)
        return [*argv, *extra, *_sweep_name(line)]
    _refuse_in_run(line)
    return [*argv, *members.own_values(line, conf=conf)]


def bracketed(argv: list[str], keys: Collection[str]) -> list[str]:
    """Return `argv` with `key=a,b` written `key=[a,b]` for these keys, which Hydra takes for a sweep else."""
    return [_bracketed(word) if word.partition("=")[0] in keys else word for word in argv]


def _bracketed(word: str) -> str:
    key, _, value = word.partition("=")
    if "," not in value or value[0] in "[{'\"" or "(" in value:
        return word
    parts = [part.strip() for part in value.split(",") if part.strip()]
    words = [part if re.fullmatch(r"[A-Za-z_./][\w./-]*", part) else _quoted(part) for part in parts]
    return f"{key}=[{','.join(words)}]"


def _refuse_in_sweep(line: CommandLine) -> None:
    if line.given("run_dir"):
        raise UsageError("run_dir= names the directory of one run; a sweep's directory is sweep_dir=DIR")
    if line.given("hydra.sweep"):
        raise UsageError("the directory of a sweep is sweep_dir=DIR; hydra.sweep follows it")
    if line.given("resume"):
        raise UsageError("a sweep is continued by starting it again with sweep_dir=DIR, without resume=")


def _refuse_in_run(line: CommandLine) -> None:
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


def quote(value: Any) -> str:
    """Write a plain value in Hydra's override grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ",".join(quote(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{quote(v)}" for k, v in value.items()) + "}"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """Quote a string: in Hydra's grammar a backslash is special only before a quote, and at the end."""
    out, slashes = [], 0
    for char in text:
        if char == "'":
            out.append("\\" * slashes + "\\")
        out.append(char)
        slashes = slashes + 1 if char == "\\" else 0
    return "'" + "".join(out) + "\\" * slashes + "'"


def nearest(word: str, known: list[str], *, n: int = 3) -> list[str]:
    """Return the names most like `word`, also by the last part of a dotted key."""
    last = word.rsplit(".", 1)[-1]
    same = [k for k in known if k.rsplit(".", 1)[-1] == last]
    return list(dict.fromkeys([*same, *difflib.get_close_matches(word, known, n=n, cutoff=0.5)]))[:n]
