"""The answer of a regression for one image: a number."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fovea.explain.core.class_choice import LogitSelector
from fovea.page.label import to_rgb
from fovea.types import Batch, Measured, Output, TaskView, Truth


class NumberView(TaskView):
    """Judge an image by how near its number is to the label."""

    score = "closeness"
    margin = 1.0
    galleries = (("numbers_worst", "Worst images"),)
    caption = "The predicted number and the true one."
    columns = ("value",)

    def __init__(self, *, classes: Sequence[str] = (), labelling: Mapping[str, Any] | None = None) -> None:
        pass

    def measure(self, output: Output, batch: Batch) -> Measured:
        """Score by the error, with a minus: more is better."""
        preds, target = output["preds"], output["target"]
        score = -(preds - target).abs()
        return Measured({"target": target, "score": score}, preds, target, ranks={"numbers_worst": -score})

    def decode(self, output: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Return the number."""
        return output[0]

    def draw(self, image: np.ndarray, answer: np.ndarray, truth: Truth | None = None) -> np.ndarray:
        """Return the image itself."""
        return to_rgb(image)

    def lines(self, answer: np.ndarray, truth: Truth | None = None) -> list[str]:
        """Say the number, and the true one."""
        return [f"{answer:.2f}"] if truth is None else [f"{answer:.2f}", f"true: {truth:.0f}"]

    def row(self, answer: np.ndarray, truth: Truth | None = None) -> dict[str, object]:
        """Return the number."""
        return {"value": float(answer)}

    def selector(self, target: str | int = "predicted") -> LogitSelector:
        """Explain the number: the only output."""
        return LogitSelector(classes=["value"], target=target)
