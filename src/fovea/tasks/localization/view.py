"""The answer of a localisation for one image: the probability of each class, and a box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.page.annotations import Drawing, draw
from fovea.page.image_grid import beside
from fovea.runs.read import class_names
from fovea.types import Batch, Measured, Output, ScoreTable, TaskView, Truth

if TYPE_CHECKING:
    from torch import Tensor

    from fovea.tasks.localization.explain import BoxedSelector

GAP = 4  # pixels between pictures side by side
SIDE = 224  # pixels of each of the pictures beside each other
CORNERS = ("x1", "y1", "x2", "y2")


class BoxView(TaskView):
    """Judge an image by the IoU of its box.

    An answer is (C + 6,): probabilities, the box in pixels, width and height of the image that these are
    of; a truth (5,), label and box.
    test.npz holds `target` (N,), the label, `true_box` (N, 4) and `box` (N, 4) in pixels of the input,
    `predicted` (N,) and `confidence` (N,).

    Args:
        shown: of the worst and of the best images.
    """

    score = "iou"
    margin = 0.1
    about = "The paired tests compare iou: the intersection over union of the box of each image."
    galleries = (("boxes_worst", "Worst boxes"), ("boxes_best", "Best boxes"), ("mistakes", "Wrong labels"))
    caption = (
        "Ground truth, then the prediction. Below: the predicted class and its probability, and the IoU."
    )

    def __init__(
        self,
        *,
        classes: Sequence[str] = (),
        labelling: Mapping[str, Any] | None = None,
        shown: int = 12,
    ) -> None:
        self.classes, self.shown = list(classes), shown
        self.columns = ["predicted", "probability", *CORNERS]

    def measure(self, output: Output, batch: Batch) -> Measured:
        """Keep label and box; errors of the label rank by the confidence in them."""
        import torch

        from fovea.metrics.localization import box_iou
        from fovea.ops.box_losses import ordered

        preds, target = output["preds"], output["target"]
        height, width = batch["image"].shape[2:]
        sides = preds.new_tensor([width, height, width, height])
        probs, boxes = preds[:, :-4].softmax(dim=1), ordered(preds[:, -4:]) * sides
        confidence, predicted = probs.max(dim=1)
        label, true_box = target[:, 0].long(), target[:, 1:] * sides
        score = box_iou(preds, target)
        rows = {
            "target": label,
            "true_box": true_box,
            "predicted": predicted,
            "confidence": confidence,
            "box": boxes,
            "score": score,
        }
        wrong = confidence.masked_fill(predicted == label, float("nan"))
        ranks = {"boxes_worst": -score, "boxes_best": score, "mistakes": wrong}
        truth = torch.cat([target[:, :1], true_box], dim=1)
        answer = torch.cat([probs, boxes, sides[:2].expand(len(probs), 2)], dim=1)
        return Measured(rows, answer, truth, ranks)

    def infer(self, net: Any, image: Tensor, preprocess: Any) -> Tensor:
        """Run the net on an image as in training; return logits, and the box as shares of the whole image."""
        import torch

        pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).cpu().numpy())
        output = net(preprocess(pixels).to(image.device)).float()
        height, width = preprocess.size
        corners = output[0, -4:].reshape(2, 2).cpu().numpy() * (width, height)
        shape = pixels.shape[:2]
        back = preprocess.placement(shape).back(corners) / shape[::-1]
        found = torch.from_numpy(back.clip(0, 1).reshape(1, 4)).to(output)
        return torch.cat([output[:, :-4], found], dim=1)

    def decode(self, output: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Return probabilities, box and size (C + 6,) of what `infer` gave."""
        exp = np.exp(output[:-4] - output[:-4].max())
        sides = np.array(image.shape[1::-1])  # width, height
        corners = output[-4:].reshape(2, 2) * sides
        return np.concatenate([exp / exp.sum(), corners.min(axis=0), corners.max(axis=0), sides])

    def draw(self, image: np.ndarray, answer: np.ndarray, truth: Truth | None = None) -> np.ndarray:
        """Draw the predicted box; with the truth, the image with the true box beside it."""
        probs, box = _parts(answer)
        scale = np.tile(np.array(image.shape[1::-1]) / answer[-2:], 2)  # the image may be a smaller copy
        side = SIDE if truth is not None else max(SIDE, *image.shape[:2])
        options = Drawing(class_names(self.classes, len(probs)), side=side)
        found = draw(_sample(image, int(probs.argmax()), box * scale), options)
        label, true = _read(truth)
        return (
            found
            if true is None
            else beside([draw(_sample(image, label, true * scale), options), found], gap=GAP)
        )

    def lines(self, answer: np.ndarray, truth: Truth | None = None) -> list[str]:
        """Name the predicted class; with the ground truth the IoU, and the true class where it differs."""
        probs, box = _parts(answer)
        names, best = class_names(self.classes, len(probs)), int(probs.argmax())
        lines, (label, true) = [f"{names[best]}  {probs[best]:.3f}"], _read(truth)
        if true is not None:
            lines.append(f"IoU {_iou(box, true):.3f}")
        return lines if label in (None, best) else [*lines, f"true: {names[label]}"]

    def row(self, answer: np.ndarray, truth: Truth | None = None) -> dict[str, object]:
        """Return class, probability and box."""
        probs, box = _parts(answer)
        best = int(probs.argmax())
        corners = dict(zip(CORNERS, box.round(2).tolist(), strict=True))
        name = class_names(self.classes, len(probs))[best]
        return {"predicted": name, "probability": float(probs[best]), **corners}

    def boxes(self, answer: np.ndarray) -> np.ndarray:
        """Return the box with its class and the probability of that (1, 6)."""
        probs, box = _parts(answer)
        return np.array([[*box, probs.max(), probs.argmax()]])

    def table(self, arrays: Mapping[str, np.ndarray]) -> ScoreTable:
        """Return the mean IoU of every class."""
        target, score = arrays["target"], arrays["score"]
        images = np.bincount(target, minlength=len(self.classes))
        lines = [(name, int(count)) for name, count in zip(self.classes, images, strict=True)]
        return ScoreTable("IoU per class", ("Class", "Images"), lines, _means(score, target, len(lines)))

    def per_class(self, arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Return the mean IoU of every class."""
        table = self.table(arrays)
        return [
            {"class": name, "images": images, "score": score}
            for (name, images), score in zip(table.lines, table.scores.tolist(), strict=True)
        ]

    def differ(self, good: Mapping[str, Any], bad: Mapping[str, Any]) -> list[str]:
        """Name the true class and both IoUs."""
        return [f"true: {self.classes[int(good['target'])]}", f"IoU {good['score']:.3f} / {bad['score']:.3f}"]

    def selector(self, target: str | int = "predicted") -> BoxedSelector:
        """Choose the classes that are explained."""
        from fovea.tasks.localization.explain import BoxedSelector

        return BoxedSelector(classes=self.classes, target=target)


def _parts(answer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities (C,) and the box (4,) of an answer."""
    return answer[:-6], answer[-6:-2]


def _read(truth: Truth | None) -> tuple[int | None, np.ndarray | None]:
    """Return the label of a truth, and its box (4,) where it has one."""
    if truth is None:
        return None, None
    values = np.ravel(np.asarray(truth, dtype=float))
    return int(values[0]), values[1:] if len(values) == 5 and np.isfinite(values).all() else None


def _sample(image: np.ndarray, label: int | None, box: np.ndarray) -> dict[str, Any]:
    return {"image": image, "boxes": box[None], "labels": np.array([-1 if label is None else label])}


def _iou(box: np.ndarray, true: np.ndarray) -> float:
    sides = np.clip(np.minimum(box[2:], true[2:]) - np.maximum(box[:2], true[:2]), 0, None)
    whole = np.prod(box[2:] - box[:2]) + np.prod(true[2:] - true[:2]) - sides.prod()
    return float(sides.prod() / whole) if whole > 0 else 0.0


def _means(score: np.ndarray, target: np.ndarray, classes: int) -> np.ndarray:
    known = ~np.isnan(score)
    total = np.bincount(target[known], weights=score[known], minlength=classes)
    with np.errstate(invalid="ignore"):
        return total / np.bincount(target[known], minlength=classes)
