"""Quote what a person pastes: for Hydra's grammar, then for the shell."""

from __future__ import annotations

import re
import shlex


def override(key: str, value: str) -> str:
    """Return `key=value`; in double quotes for the shell where it can be, else in single ones."""
    if re.fullmatch(r"[\w./:+%@-]+", value, flags=re.ASCII):
        return f"{key}={value}"
    if re.search(r'["$`\\!]', value):  # which the shell reads in double quotes
        return shlex.quote(key + "=" + _quoted(value, '"'))
    return '"' + key + "=" + _quoted(value, "'") + '"'


def _quoted(text: str, mark: str) -> str:
    """Quote in Hydra's grammar, where backslashes count before a mark alone."""
    inner = re.sub(rf"(\\+)(?={mark}|$)", r"\1\1", text).replace(mark, f"\\{mark}")
    return f"{mark}{inner}{mark}"
