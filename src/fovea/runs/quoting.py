"""Quote what a person pastes: for Hydra's grammar, then for the shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence


def override(key: str, value: str) -> str:
    """Return `key=value`; in double quotes for the shell where it can be, else in single ones."""
    if _is_plain(value):
        return f"{key}={value}"
    if re.search(r'["$`\\!]', value):  # which the shell reads in double quotes
        return shlex.quote(key + "=" + _quoted(value, '"'))
    return '"' + key + "=" + _quoted(value, "'") + '"'


def override_list(key: str, values: Sequence[str]) -> str:
    """Return `key=[value,…]`, quoted where it must be."""
    text = ",".join(value if _is_plain(value) else _quoted(value, '"') for value in values)
    return f"{key}=[{text}]" if all(map(_is_plain, values)) else shlex.quote(f"{key}=[{text}]")


def _is_plain(value: str) -> bool:
    return re.fullmatch(r"[\w./:+%@-]+", value, flags=re.ASCII) is not None


def _quoted(text: str, mark: str) -> str:
    """Quote in Hydra's grammar, where backslashes count before a mark alone."""
    inner = re.sub(rf"(\\+)(?={mark}|$)", r"\1\1", text).replace(mark, f"\\{mark}")
    return f"{mark}{inner}{mark}"
