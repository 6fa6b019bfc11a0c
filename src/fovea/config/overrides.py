"""Read and write Hydra's override grammar: a command line as flags and overrides, plain values as text."""

from __future__ import annotations

import difflib
import re
import shlex
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString

from fovea.runs.quoting import override


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

    def words(self, *keys: str) -> list[str]:
        """Return the overrides of these keys and groups as they were written."""
        return [str(o.input_line) for o in self.overrides if o.key_or_group in keys]

    def given(self, key: str) -> bool:
        """Whether `key`, or something inside it, is set or deleted."""
        return any(o.key_or_group == key or o.key_or_group.startswith(f"{key}.") for o in self.overrides)


def _is_multirun(flag: str) -> bool:
    return flag == "-m" or (len(flag) > 3 and "--multirun".startswith(flag))


def parse(argv: list[str]) -> CommandLine:
    """Split `argv` (without the program) into flags and overrides."""
    words = [a for a in argv if ("=" in a.split(" ")[0] or a.startswith("~")) and not a.startswith("-")]
    return CommandLine([a for a in argv if a not in words], OverridesParser.create().parse_overrides(words))


def quote(value: object) -> str:
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
    return QuotedString(str(value), Quote.single).with_quotes()


def for_shell(key: str, value: object) -> str:
    """Write `key=value` as a user pastes it: quoted for Hydra's grammar, then for the shell where need be."""
    if isinstance(value, str):
        return override(key, value)
    word = f"{key}={quote(value)}"
    if re.fullmatch(r"[\w./:+%@=-]+", word, flags=re.ASCII):
        return word
    return shlex.quote(word) if re.search(r'["$`\\!]', word) else f'"{word}"'


def nearest(word: str, known: list[str], *, n: int = 3) -> list[str]:
    """Return the names most like `word`, also by the last part of a dotted key."""
    last = word.rsplit(".", 1)[-1]
    same = [k for k in known if k.rsplit(".", 1)[-1] == last]
    return list(dict.fromkeys([*same, *difflib.get_close_matches(word, known, n=n, cutoff=0.5)]))[:n]
