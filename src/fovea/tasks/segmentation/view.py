"""The answer of a segmentation net for one image: the class of each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.page.annotations import IGNORE, colours, errors, has_background, legend, overlay, stretched
from fovea.page.image_grid import beside
from fovea.page.label import thumbnail
from fovea.runs.read import class_names
from fovea.tasks.segmentation import scores
from fovea.types import Batch, Measured, Output, ScoreTable, TaskView, Truth

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from fovea.tasks.segmentation.explain import MaskSelector

GAP = 4  # pixels between pictures side by side
NAMED = 3  # classes below an image
SIDE = 160  # pixels of each of the pictures beside each other
LEGEND = 200  # pixels, the least width of a legend


class MaskView(TaskView):
    """Judge an image by its mean IoU over the classes in it.

    test.npz holds for every image (N) and class (K) the pixels that are `right`, `found` and true (`target`),
    (N, K) each; `total_confusion` (K, K), row = truth, is that of all images.

    Args:
        shown: of the best and of the worst images.
        window: None: predict sees a whole image at once; a side, or height and width: a window slides over it
            at its own scale.
        overlap: share of a window that the next one sees again.
    """

    score = "image_iou"
    margin = 0.1
    about = (
        "The paired tests compare image_iou: the mean IoU over the classes of one image, averaged over "
        "images. test/iou counts the pixels of all images together, so the two differ. Below a picture: "
        "the IoU of the better and of the worse model, over its classes and of the class that makes most of "
        "the difference; false: a class that is not there."
    )
    galleries = (("masks_worst", "Worst images"), ("masks_best", "Best images"))
    caption = (
        "Image, ground truth, prediction, and the wrong pixels in red; white pixels are ignored. Below: the "
        "mean IoU over the classes of that image."
    )
    folder = ("mask", "masks")

    def __init__(
        self,
        *,
        classes: Sequence[str] = (),
        labelling: Mapping[str, Any] | None = None,
        shown: int = 8,
        window: int | Sequence[int] | None = None,
        overlap: float = 0.25,
    ) -> None:
        self.classes, self.shown, self.window, self.overlap = list(classes), shown, window, overlap
        others = ["path", "mask", "correct"]  # columns that the writer has, or looks for
        twice = [name for name in self.classes if [*self.classes, *others].count(name) > 1]
        self.columns = [f"{name} {i}" if name in twice else name for i, name in enumerate(self.classes)]
        self.colours = colours((labelling or {}).get("palette"))
        self.background = has_background(self.classes)
        if window is not None:  # a wrong one is refused at once
            from fovea.predict.full_size import sides_of

            sides_of(window, overlap)

    def measure(self, output: Output, batch: Batch) -> Measured:
        """Count pixels; an image whose pixels are all ignored has no score."""
        from fovea.ops.segmentation import confusion, iou_per_class

        preds, target = output["preds"], output["target"]
        counts = confusion(preds, target, len(self.classes))  # (B, K, K)
        score = iou_per_class(counts).nanmean(1)
        rows = {
            "target": counts.sum(2).int(),
            "found": counts.sum(1).int(),
            "right": counts.diagonal(dim1=1, dim2=2).int(),
            "score": score,
        }
        ranks = {"masks_worst": -score, "masks_best": score}
        return Measured(rows, preds.byte(), target.byte(), ranks, sums={"confusion": counts.sum(0)})

    def infer(self, net: Any, image: Tensor, preprocess: Any) -> Tensor:
        """Return the class of each pixel (1, H, W) at the size of the image."""
        from fovea.predict.full_size import class_maps

        return class_maps(net, image, preprocess, window=self.window, overlap=self.overlap)

    def decode(self, output: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Return the class map (H, W) that `infer` gave."""
        if output.shape != image.shape[:2]:
            raise ValueError(f"the mask is {output.shape}, the image {image.shape[:2]}")
        return output.astype(np.uint8)

    def draw(self, image: np.ndarray, answer: np.ndarray, truth: Truth | None = None) -> np.ndarray:
        """Tint the image by its classes; with the truth, set truth, prediction and errors beside it."""
        if truth is None:
            found = stretched(answer, image.shape)
            drawn = overlay(image, found, self.colours, background=self.background)
        else:
            image = thumbnail(image, side=SIDE)
            true, found = (stretched(np.asarray(values), image.shape) for values in (truth, answer))
            drawn = beside(
                [image, self.colours[true], self.colours[found], errors(image, true, found)], gap=GAP
            )
        present = np.unique(answer if truth is None else np.append(answer, truth)).tolist()
        names = legend(present, self.classes, self.colours, width=max(drawn.shape[1], LEGEND))
        margin = names.shape[1] - drawn.shape[1]
        sides = ((0, 0), (margin // 2, margin - margin // 2), (0, 0))
        return np.vstack([np.pad(drawn, sides, constant_values=255), names])

    def lines(self, answer: np.ndarray, truth: Truth | None = None) -> list[str]:
        """Name the largest classes with their shares; with the ground truth, the mean IoU."""
        if truth is not None:
            return [f"IoU {scores.mean(scores.iou(self._counts(answer, np.asarray(truth)))):.3f}"]
        shares = self._shares(answer)
        order = [c for c in np.argsort(-shares, kind="stable").tolist() if shares[c] > 0]
        if self.background and len(order) > 1:  # it is named only where nothing else is found
            order = [c for c in order if c]
        return [f"{self.classes[c]} {100 * shares[c]:.1f} %" for c in order[:NAMED]]

    def scored(self, score: float) -> list[str]:
        """Name the mean IoU as it was measured: masks may be shown at another size."""
        return [f"IoU {score:.3f}"]

    def row(self, answer: np.ndarray, truth: Truth | None = None) -> dict[str, object]:
        """Return the share of the pixels that each class has."""
        return dict(zip(self.columns, self._shares(answer).tolist(), strict=True))

    def picture(self, answer: np.ndarray) -> Image:
        """Return a palette image whose indices are the classes."""
        from PIL import Image

        mask = Image.fromarray(answer)
        mask.putpalette(self.colours.ravel().tolist())
        return mask

    def table(self, arrays: Mapping[str, np.ndarray]) -> ScoreTable:
        """Return the IoU of every class over the pixels of all images."""
        counts = scores.summed(arrays)
        shares = counts["target"] / max(counts["target"].sum(), 1)
        names = class_names(self.classes, len(shares))
        lines = [(name, f"{100 * share:.2f} %") for name, share in zip(names, shares, strict=True)]
        return ScoreTable("IoU per class", ("Class", "Pixels"), lines, scores.iou(counts))

    def per_class(self, arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Return the IoU of every class over the pixels of all images, and how many pixels are its."""
        counts = scores.summed(arrays)
        names, pixels = class_names(self.classes, len(counts["target"])), counts["target"].tolist()
        found = zip(names, pixels, scores.iou(counts).tolist(), strict=True)
        return [{"class": name, "pixels": count, "score": score} for name, count, score in found]

    def differ(self, good: Mapping[str, Any], bad: Mapping[str, Any]) -> list[str]:
        """Name both scores of an image, and those of the class on which the worse model loses most."""
        better, worse = (np.nan_to_num(scores.iou(rows), nan=1.0) for rows in (good, bad))
        lost = int(np.argmax(better - worse))
        name, there = class_names(self.classes, len(better))[lost], good["target"][lost] > 0
        found = f"{name} {better[lost]:.2f} / {worse[lost]:.2f}" if there else f"false: {name}"
        return [f"IoU {good['score']:.2f} / {bad['score']:.2f}", found]

    def selector(self, target: str | int = "predicted") -> MaskSelector:
        """Choose the classes whose area is explained."""
        from fovea.tasks.segmentation.explain import MaskSelector

        return MaskSelector(classes=self.classes, target=target)

    def _shares(self, answer: np.ndarray) -> np.ndarray:
        return np.bincount(answer.ravel(), minlength=len(self.classes))[: len(self.classes)] / answer.size

    def _counts(self, answer: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
        kept, k = truth != IGNORE, len(self.classes)
        answer, truth = answer[kept], truth[kept]
        parts = {"right": truth[truth == answer], "found": answer, "target": truth}
        return {name: np.bincount(values, minlength=k) for name, values in parts.items()}
