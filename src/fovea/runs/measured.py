"""Say how many images stand behind the figures of a run, and whether it was a debug run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fovea.page.formats import counted, is_number


def images(summary: Mapping[str, Any], stage: str) -> str:
    """`750 images`, `128 of 750 images`; empty where it was not recorded."""
    known = (summary.get("measured") or {}).get(stage)
    if not is_number(known):
        return ""
    total = (summary.get("data") or {}).get(f"num_{stage}")
    part = is_number(total) and known < total and not _smaller_by_design(summary, stage, known, total)
    return (
        f"{int(known):,} of {counted(round(total or 0), 'image')}" if part else counted(int(known), "image")
    )


def _smaller_by_design(summary: Mapping[str, Any], stage: str, known: float, total: float) -> bool:
    """Whether only the last batch, which would not be full, is missing from an epoch of training."""
    size = (summary.get("config") or {}).get("batch_size")
    return stage == "train" and is_number(size) and total - known < size


def debugging(config: Mapping[str, Any]) -> str | None:
    """Name the settings that make a run a debug run, whose figures say nothing; None for other runs."""
    trainer = config.get("trainer") or {}
    whole: dict[str, tuple[Any, ...]] = {
        f"limit_{stage}_batches": (None, 1.0) for stage in ("train", "val", "test")
    }
    whole |= {"fast_dev_run": (None, False, 0), "overfit_batches": (None, 0, 0.0), "max_epochs": ()}
    found = []
    for key, usual in whole.items():
        value = trainer.get(key)
        odd = value == 0 if key == "max_epochs" else not any(_same(value, one) for one in usual)
        if odd:
            found.append(f"trainer.{key}={str(value).lower()}")
    return ", ".join(found) or None


def _same(a: Any, b: Any) -> bool:
    """Whether two settings are equal: 1 is one batch, 1.0 all of them."""
    return type(a) is type(b) and a == b


def status(summary: Mapping[str, Any], known: str) -> str:
    """Return the status, with what makes a run a debug run."""
    reason = summary.get("debug")
    return f"{known}, debug run: {reason}" if reason else known
