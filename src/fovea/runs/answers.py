"""Read what a classifier answered to the test images, as `predictions/test.npz` holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fovea.reading import Unreadable
from fovea.runs.read import class_names, read_predictions

ALL = 200  # classes up to which the probabilities of all are held, beyond that those of the first TOP
TOP = 10


class Answers(NamedTuple):
    """The true class (N,), the most probable one (N,), -1 where it is NaN, and its probability (N,)."""

    target: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    classes: list[str]


def read_answers(run_dir: Path, classes: Sequence[str]) -> Answers | None:
    """Read the answers of a run whose classes have these names; None where it made no test predictions.

    Raises:
        Unreadable: the file is damaged, or holds something else.
    """
    arrays = read_predictions(run_dir)
    if not arrays:
        return None
    if "target" not in arrays or ("probs" not in arrays and not {"top", "top_probs"} <= set(arrays)):
        path = run_dir / "predictions" / "test.npz"
        raise Unreadable(f"{path} cannot be read (it holds no probabilities of classes)")
    predicted, confidence = most_probable(arrays)
    return Answers(arrays["target"], predicted, confidence, names_in(arrays, classes))


def most_probable(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable class (…) of rows, -1 where one holds NaN, and its probability (…)."""
    whole = "probs" in arrays
    probs = np.asarray(arrays["probs" if whole else "top_probs"], dtype=np.float32)  # (…, C or TOP)
    lost = np.isnan(probs).any(axis=-1)
    predicted = probs.argmax(axis=-1) if whole else np.asarray(arrays["top"])[..., 0]
    return np.where(lost, -1, predicted), np.where(lost, np.nan, probs.max(axis=-1))


def names_in(arrays: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[str]:
    """Return the names of the classes that rows tell apart, numbers where those are not known."""
    if "probs" in arrays:
        return class_names(classes, arrays["probs"].shape[-1])
    highest = int(max(np.max(arrays[key], initial=-1) for key in ("top", "target")))
    return list(classes) if len(classes) > highest else class_names((), highest + 1)
