"""The answer of a classifier for one image: the probability of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.metrics.significance import wilson
from fovea.page.label import to_rgb
from fovea.runs.answers import ALL, TOP, most_probable, names_in
from fovea.runs.read import class_names
from fovea.types import Batch, Measured, Output, ScoreTable, TaskView, Truth

if TYPE_CHECKING:
    from torch import Tensor

    from fovea.explain.core.class_choice import LogitSelector


class ClassView(TaskView):
    """Judge an image by whether its most probable class is the true one.

    test.npz holds `target` (N,) and `probs` (N, C); of more than 200 classes, `top` and `top_probs` (N, 10).

    Args:
        top_k: classes in a line of predictions.csv.
        shown: of the most confident errors.
    """

    score = "acc"
    margin = 1.0
    contrast = "{good} right, {bad} wrong"
    about = (
        "Of models with several runs, an image counts as right or wrong by the majority. First come the "
        "images on which the mean probabilities of the true class differ most."
    )
    galleries = (("mistakes", "Most confident errors"),)
    caption = "Predicted class and its probability, then the true class; the most confident error first."

    def __init__(
        self,
        *,
        classes: Sequence[str] = (),
        labelling: Mapping[str, Any] | None = None,
        top_k: int = 5,
        shown: int = 24,
    ) -> None:
        self.classes, self.top_k, self.shown = list(classes), top_k, shown
        ranks = range(2, min(top_k, len(self.classes)) + 1)
        others = [name for rank in ranks for name in (f"top{rank}", f"top{rank}_probability")]
        self.columns = ["predicted", "probability", "true", "correct", *others]

    def measure(self, output: Output, batch: Batch) -> Measured:
        """Keep the probabilities; errors rank by the confidence in them."""
        probs, target = output["preds"].softmax(dim=1), output["target"]
        confidence, predicted = probs.max(dim=1)
        right = (predicted == target) & ~confidence.isnan()
        rows = {
            "target": target,
            **_held(probs),
            "score": right.float(),
            "tie_break": probs.gather(1, target[:, None])[:, 0],
        }
        return Measured(rows, probs, target, ranks={"mistakes": confidence.masked_fill(right, float("nan"))})

    def decode(self, output: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Return the probabilities (C,) of logits (C,)."""
        exp = np.exp(output - output.max())
        return exp / exp.sum()

    def draw(self, image: np.ndarray, answer: np.ndarray, truth: Truth | None = None) -> np.ndarray:
        """Return the image itself; the prediction is in the lines below it."""
        return to_rgb(image)

    def lines(self, answer: np.ndarray, truth: Truth | None = None) -> list[str]:
        """Name the predicted class, and the true one where it is another."""
        index, names = int(answer.argmax()), self._names(answer)
        lines = [f"{names[index]}  {answer[index]:.3f}"]
        return lines if truth is None or int(truth) == index else [*lines, f"true: {names[int(truth)]}"]

    def row(self, answer: np.ndarray, truth: Truth | None = None) -> dict[str, object]:
        """Return the most probable classes; of equal ones the first."""
        order, names = np.argsort(-answer, kind="stable").tolist(), self._names(answer)
        found: dict[str, object] = {
            "predicted": names[order[0]],
            "probability": float(answer[order[0]]),
            "true": None if truth is None else names[int(truth)],
            "correct": None if truth is None else order[0] == int(truth),
        }
        for rank, index in enumerate(order[1 : self.top_k], start=2):
            found |= {f"top{rank}": names[index], f"top{rank}_probability": float(answer[index])}
        return found

    def table(self, arrays: Mapping[str, np.ndarray]) -> ScoreTable:
        """Return the accuracy of every class."""
        target, names = arrays["target"], names_in(arrays, self.classes)
        images = np.bincount(target, minlength=len(names))
        right = np.bincount(target, weights=arrays["score"], minlength=len(names))
        with np.errstate(invalid="ignore"):
            scores = right / images
        lines = list(zip(names, images.tolist(), strict=True))
        return ScoreTable("Accuracy per class", ("Class", "Images"), lines, scores)

    def per_class(self, arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Return how many images of every class are classified correctly, with the interval of the share."""
        table = self.table(arrays)
        lines = []
        for (name, images), score in zip(table.lines, table.scores.tolist(), strict=True):
            correct = round(score * images) if images else 0
            interval = list(wilson(correct, images)) if images else None
            lines.append({"class": name, "correct": correct, "images": images, "score": score,
                          "interval": interval})  # fmt: skip
        return lines

    def differ(self, good: Mapping[str, Any], bad: Mapping[str, Any]) -> list[str]:
        """Name the true and the predicted class."""
        names = names_in(bad, self.classes)
        predicted, confidence = most_probable(bad)
        label = "nothing" if predicted < 0 else f"{names[int(predicted)]}, {confidence:.2f}"
        return [f"true: {names[int(good['target'])]}", f"predicted as {label}"]

    def selector(self, target: str | int = "predicted") -> LogitSelector:
        """Choose the classes that are explained."""
        from fovea.explain.core.class_choice import LogitSelector

        return LogitSelector(classes=self.classes, target=target)

    def _names(self, probs: np.ndarray) -> list[str]:
        return class_names(self.classes, len(probs))


def _held(probs: Tensor) -> dict[str, Tensor]:
    """Return what is kept of the probabilities (B, C) of each test image."""
    if probs.shape[1] <= ALL:
        return {"probs": probs}
    values, classes = probs.topk(TOP, dim=1)
    return {"top": classes, "top_probs": values}
