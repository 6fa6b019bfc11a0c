"""The answer of a detector for one image: boxes with a class and a score each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.ops.box_pairs import found_boxes, true_boxes
from fovea.page.annotations import Drawing, draw
from fovea.page.formats import counted
from fovea.page.image_grid import beside
from fovea.types import Batch, Measured, Output, Resampled, ScoreTable, TaskView, Truth

if TYPE_CHECKING:
    from torch import Tensor

    from fovea.tasks.detection.explain import BoxSelector

GAP = 4  # pixels between pictures side by side
SIDE = 320  # pixels of each of the pictures beside each other
COLUMNS = ("class", "score", "x1", "y1", "x2", "y2")
READ = (found_boxes, true_boxes)
DRAWN = 256  # true boxes of a picture at most


class DetectionView(TaskView):
    """Judge an image by the F1 of what is found at one threshold.

    An answer is (D + 1, 6): x1 y1 x2 y2, score, class of each detection, the most certain first and 0 behind
    them; the last row holds width and height of the image that the pixels are of. A truth is (M, 6): x1 y1
    x2 y2, class, 1 where it is to be ignored; NaN behind them.
    test.npz holds `found` (N, D, 6), `true` (N, M, 6), `size` (N, 2), width and height, and `target` (N,),
    the number of objects.

    Args:
        threshold: of the score, for pictures, tables and the score of an image.
        iou: least overlap of a detection that is right.
        shown: of the worst and of the best images.
        window: of predict: a side or [height, width] that slides over large images; None: all at once.
        overlap: of a window, shared with the next.
        whole: look at the whole image beside the windows, for what is larger than they are.
        across_classes: of boxes that windows share one stays, also where their classes differ.
        protocol: of the average precision in comparisons: coco, voc07 or voc12.
    """

    score = "image_f1"
    margin = 0.1
    galleries = (("detections_worst", "Worst images"), ("detections_best", "Best images"))

    def __init__(
        self,
        *,
        classes: Sequence[str] = (),
        labelling: Mapping[str, Any] | None = None,
        threshold: float = 0.5,
        iou: float = 0.5,
        shown: int = 12,
        window: int | Sequence[int] | None = None,
        overlap: float = 0.25,
        whole: bool = True,
        across_classes: bool = False,
        protocol: str = "coco",
    ) -> None:
        from fovea.metrics.average_precision import PROTOCOLS

        if not 0 <= threshold <= 1 or not 0 < iou <= 1:
            raise ValueError(f"report.view.threshold={threshold} and report.view.iou={iou} must lie in 0…1")
        if protocol not in PROTOCOLS:
            raise ValueError(
                f"metrics.protocol={protocol!r} is unknown: choose one of {', '.join(PROTOCOLS)}"
            )
        self.protocol = PROTOCOLS[protocol]
        several = len(self.protocol.thresholds) > 1
        self.wholes = ("ap50", "ap") if several else ("ap",)
        self.classes, self.shown, self.threshold, self.iou = list(classes), shown, threshold, iou
        self.window, self.overlap, self.whole, self.across_classes = window, overlap, whole, across_classes
        self.columns = list(COLUMNS)
        self.about = (
            "Images are compared by image_f1: of each image the F1 of its detections with a score of "
            f"{threshold:g} or more, right where they overlap an object of their class by {iou:g} or more."
        )
        self.caption = f"Ground truth, then the detections with a score of {threshold:g} or more."
        if window is not None:  # a wrong one is refused at once
            from fovea.predict.full_size import sides_of

            sides_of(window, overlap)

    def measure(self, output: Output, batch: Batch) -> Measured:
        """Keep detections and objects of each image."""
        import torch

        from fovea.ops.box_match import match

        found, true = output["preds"].float(), output["target"].float()
        height, width = batch["image"].shape[2:]
        score = match(found, true, threshold=self.threshold, iou=self.iou).f1
        size = found.new_tensor([width, height]).expand(len(found), 2)
        objects = (~true[..., 4].isnan()).sum(dim=1)
        rows = {"target": objects, "found": found, "true": true, "size": size, "score": score}
        last = torch.cat([size, torch.zeros_like(found[:, 0, :4])], dim=1)[:, None]
        answer = torch.cat([found, last], dim=1)
        truth = found.new_full((len(found), DRAWN, 6), float("nan"))
        truth[:, : true.shape[1]] = true[:, :DRAWN]
        return Measured(rows, answer, truth, {"detections_worst": -score, "detections_best": score})

    def infer(self, net: Any, image: Tensor, preprocess: Any) -> Tensor:
        """Run the net on an image, in windows where they are asked for; return detections in its pixels."""
        import torch

        from fovea.predict.box_windows import in_whole, in_windows
        from fovea.predict.full_size import sides_of

        window = sides_of(self.window, self.overlap)
        if window is None:
            return torch.from_numpy(in_whole(net, image, preprocess))[None]
        found = in_windows(
            net, image, preprocess, window=window, overlap=self.overlap, threshold=self.threshold,
            whole=self.whole, across=self.across_classes,
        )  # fmt: skip
        return torch.from_numpy(found)[None]

    def decode(self, output: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Return the detections with the size of their image (D + 1, 6)."""
        last = np.array([[*image.shape[1::-1], 0, 0, 0, 0]], dtype=output.dtype)
        return np.concatenate([output, last])

    def draw(self, image: np.ndarray, answer: np.ndarray, truth: Truth | None = None) -> np.ndarray:
        """Draw the detections; with the truth, the image with the true boxes beside it."""
        scale = np.tile(np.array(image.shape[1::-1]) / answer[-1, :2], 2)  # the image may be a smaller copy
        side = SIDE if truth is not None else max(SIDE, *image.shape[:2])
        options = Drawing(self.classes, side=side)
        kept = self._kept(answer)
        found = draw(_sample(image, kept[:, :4] * scale, kept[:, 5], kept[:, 4]), options)
        if truth is None:
            return found
        true = _there(truth)
        return beside([draw(_sample(image, true[:, :4] * scale, true[:, 4]), options), found], gap=GAP)

    def lines(self, answer: np.ndarray, truth: Truth | None = None) -> list[str]:
        """Count the detections of each class."""
        kept = self._kept(answer)
        names, counts = np.unique(kept[:, 5].astype(int), return_counts=True)
        found = [
            f"{self._name(k)} × {n}" if n > 1 else self._name(k) for k, n in zip(names, counts, strict=True)
        ]
        return [", ".join(found) or "nothing found"]

    def scored(self, score: float) -> list[str] | None:
        """Name the F1 of a test image."""
        return [f"F1 {score:.3f}"]

    def row(self, answer: np.ndarray, truth: Truth | None = None) -> dict[str, object]:
        """Return the most certain detection; nothing where there is none."""
        return self.rows(answer, truth)[0]

    def rows(self, answer: np.ndarray, truth: Truth | None = None) -> list[dict[str, object]]:
        """Return a line for each detection; an empty one where there is none."""
        lines: list[dict[str, object]] = [
            dict(
                zip(
                    COLUMNS, (self._name(int(one[5])), float(one[4]), *one[:4].round(2).tolist()), strict=True
                )
            )
            for one in self._kept(answer)
        ]
        return lines or [{}]

    def table(self, arrays: Mapping[str, np.ndarray]) -> ScoreTable:
        """Return the average precision of every class at an overlap of 0.5."""
        from fovea.metrics.average_precision import average_precision

        found, true = (read(rows) for read, rows in zip(READ, numbered(arrays), strict=True))
        measured = average_precision(found, true, num_classes=len(self.classes), protocol=self.protocol)
        objects = measured.objects[0].tolist()
        lines = [(name, count) for name, count in zip(self.classes, objects, strict=True)]
        return ScoreTable("AP50 per class", ("Class", "Objects"), lines, measured.per_class(at=0.5))

    def resample(self, metric: str, arrays: Mapping[str, np.ndarray], counts: np.ndarray) -> Resampled:
        """Return the average precision at an overlap of 0.5, or over those of the protocol."""
        from fovea.metrics.ap_bootstrap import resampled_precision

        found, true = (read(rows) for read, rows in zip(READ, numbered(arrays), strict=True))
        once = np.ones((len(counts), 1), dtype=np.float32)
        values = resampled_precision(
            found, true, np.concatenate([once, counts], axis=1), num_classes=len(self.classes),
            protocol=self.protocol, thresholds=(0.5,) if metric == "ap50" else None,
        ).mean(axis=0)  # fmt: skip
        return Resampled(float(values[0]), values[1:])

    def per_class(self, arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Return the AP50 of every class."""
        table = self.table(arrays)
        return [
            {"class": name, "objects": objects, "score": score}
            for (name, objects), score in zip(table.lines, table.scores.tolist(), strict=True)
        ]

    def differ(self, good: Mapping[str, Any], bad: Mapping[str, Any]) -> list[str]:
        """Name the objects and both scores."""
        return [counted(int(good["target"]), "object"), f"F1 {good['score']:.3f} / {bad['score']:.3f}"]

    def boxes(self, answer: np.ndarray) -> np.ndarray:
        """Return the detections (n, 6) above the threshold."""
        return self._kept(answer)

    def explained(self, net: Any) -> Any:
        """Return the detector with what its heads say as its output, in which scores have gradients."""
        from fovea.tasks.detection.explain import with_raw_output

        return with_raw_output(net)

    def selector(self, target: str | int = "predicted") -> BoxSelector:
        """Choose the boxes that are explained."""
        from fovea.tasks.detection.explain import BoxSelector

        return BoxSelector(classes=self.classes, target=target)

    def _kept(self, answer: np.ndarray) -> np.ndarray:
        """Return the detections (n, 6) above the threshold."""
        return answer[:-1][answer[:-1, 4] >= max(self.threshold, 1e-9)]

    def _name(self, label: int) -> str:
        return self.classes[label] if label < len(self.classes) else f"class {label}"


def numbered(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return detections and objects of test.npz, a row (7,) each that begins with the number of the image."""
    rows = []
    for name, column, there in (("found", 4, lambda v: v > 0), ("true", 4, lambda v: ~np.isnan(v))):
        values = arrays[name]
        image = np.broadcast_to(np.arange(len(values))[:, None, None], (*values.shape[:2], 1))
        rows.append(np.concatenate([image, values], axis=2)[there(values[..., column])])
    return rows[0], rows[1]


def _there(truth: Truth) -> np.ndarray:
    true = np.asarray(truth, dtype=float).reshape(-1, 6)
    return true[~np.isnan(true[:, 4])]


def _sample(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray | None = None
) -> dict[str, Any]:
    found = {"image": image, "boxes": boxes, "labels": labels.astype(int)}
    return found if scores is None else {**found, "scores": scores}
