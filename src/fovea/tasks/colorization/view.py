"""The answer of a colourisation for one image: the image in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fovea.page.heatmap import heat
from fovea.page.image_grid import beside
from fovea.types import Batch, Measured, Output, ScoreTable, TaskView, Truth

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from fovea.tasks.colorization.task import Encoding

GAP = 4  # pixels between pictures side by side
BAND = 1_000_000  # pixels that are coloured at a time
FAR = 60.0  # the distance in a and b that is drawn brightest
SCORES = {
    "ab_error": "error in a and b",
    "psnr": "PSNR, mean over images",
    "colourfulness": "colourfulness",
}


class ColourView(TaskView):
    """Judge an image by the PSNR of its colours.

    test.npz holds for every image (N,): ab_error, that of a grey image, psnr, colourfulness, and that of the
    truth; `target`, the sum of the truth's values 0…255.

    Args:
        encoding: decodes what the net gives, as in the task.
        shown: of the first, the best and the worst images.
    """

    score = "image_psnr"
    margin = 1.0  # dB
    about = (
        "The paired tests compare image_psnr: the PSNR of each image, averaged over images. test/psnr "
        "takes the pixels of all images together, so the two differ."
    )
    galleries = (
        ("colours_first", "The first test images"),
        ("colours_best", "Best images"),
        ("colours_worst", "Worst images"),
    )
    caption = (
        "Input, prediction, ground truth, and the distance between the last two in a and "
        f"b: black is none, yellow {FAR:.0f} and more. Below: the root mean square over the image."
    )
    columns = ("colourfulness",)
    folder = ("picture", "coloured")

    def __init__(
        self,
        *,
        encoding: Encoding,
        classes: Sequence[str] = (),
        labelling: Mapping[str, Any] | None = None,
        shown: int = 8,
    ) -> None:
        self.encoding, self.shown = encoding, shown

    def measure(self, output: Output, batch: Batch) -> Measured:
        """Measure the colours; the answer is the image in the predicted ones."""
        from fovea.metrics.colour import ab_error, colourfulness, image_psnr
        from fovea.tasks.colorization.task import recoloured

        image, target = batch["image"].float(), output["target"]
        coloured, truth = recoloured(image, output["preds"]), image.expand(-1, 3, -1, -1)
        error = ab_error(output["preds"], target)
        values = (truth.double().flatten(1) * 255).round()  # their sum is exact and tells test sets apart
        psnr = image_psnr(coloured, truth)
        rows = {
            "target": values.sum(dim=1),
            "ab_error": error,
            "grey_error": ab_error(target.new_zeros(()).expand_as(target), target),
            "psnr": psnr,
            "colourfulness": colourfulness(coloured),
            "true_colourfulness": colourfulness(truth),
            "score": psnr,
        }
        first = -batch["index"].to(error.device)
        ranks = {"colours_first": first, "colours_best": -error, "colours_worst": error}
        return Measured(rows, _bytes(coloured), _bytes(truth), ranks)

    def infer(self, net: Any, image: Tensor, preprocess: Any) -> Tensor:
        """Run the net on the whole image with as many pixels as in training; enlarge a and b (1, 2, H, W).

        The sharp edges of a coloured image are those of its own lightness; colours may be coarse.
        """
        height, width = image.shape[2:]
        scale = (preprocess.size[0] * preprocess.size[1] / (height * width)) ** 0.5
        size = max(1, round(height * scale)), max(1, round(width * scale))
        small = _resized(image.float(), size).round()
        ab = self.encoding.to(image.device).decode(net(preprocess.to_input(small)))
        return _resized(ab, (height, width))

    def decode(self, output: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Colour an image (H, W, 3) uint8 with a and b (2, h, w), enlarged to its size."""
        import torch

        from fovea.ops.lab import lab_to_rgb, lightness

        if output.ndim != 3 or output.shape[0] != 2:
            raise ValueError(
                f"expected a and b (2, h, w), got {output.shape}: set report.view as the task does"
            )
        ab = _resized(torch.from_numpy(np.ascontiguousarray(output))[None].float(), image.shape[:2])
        rows, coloured = max(1, BAND // image.shape[1]), np.empty_like(image)
        for top in range(0, len(image), rows):
            lab = torch.cat([lightness(_tensor(image[top : top + rows])), ab[:, :, top : top + rows]], dim=1)
            coloured[top : top + rows] = _bytes(lab_to_rgb(lab))[0].numpy()
        return coloured

    def draw(self, image: np.ndarray, answer: np.ndarray, truth: Truth | None = None) -> np.ndarray:
        """Set the grey image beside the answer, the ground truth and the distance between them."""
        coloured = _fitted(answer, image)
        if truth is None:
            return beside([without_colour(image), coloured], gap=GAP)
        true = np.asarray(truth)
        distance = _fitted(heat((ab_distance(answer, true) / FAR).numpy()), image)
        return beside([without_colour(image), coloured, _fitted(true, image), distance], gap=GAP)

    def lines(self, answer: np.ndarray, truth: Truth | None = None) -> list[str]:
        """Name the error in a and b, or without the ground truth the colourfulness."""
        if truth is None:
            return [f"colourfulness {self.row(answer)['colourfulness']:.1f}"]
        return [f"error {float(ab_distance(answer, np.asarray(truth)).square().mean().div(2).sqrt()):.1f}"]

    def row(self, answer: np.ndarray, truth: Truth | None = None) -> dict[str, object]:
        """Return the colourfulness."""
        from fovea.metrics.colour import colourfulness

        return {"colourfulness": float(colourfulness(_tensor(answer)))}

    def picture(self, answer: np.ndarray) -> Image:
        """Return the image in colour."""
        from PIL import Image

        return Image.fromarray(answer)

    def table(self, arrays: Mapping[str, np.ndarray]) -> ScoreTable:
        """Return mean scores, those of grey images and of the truth beside them."""
        grey = {"ab_error": float(arrays["grey_error"].mean()), "colourfulness": 0.0}
        truth = {"ab_error": 0.0, "colourfulness": float(arrays["true_colourfulness"].mean())}
        lines = [(name, grey.get(key), truth.get(key)) for key, name in SCORES.items()]
        scores = np.array([arrays[key].mean() for key in SCORES])
        return ScoreTable("Colours", ("Score", "Grey", "Ground truth"), lines, scores)

    def differ(self, good: Mapping[str, Any], bad: Mapping[str, Any]) -> list[str]:
        """Name both PSNRs and both errors."""
        return [
            f"PSNR {good['score']:.1f} / {bad['score']:.1f} dB",
            f"error {good['ab_error']:.1f} / {bad['ab_error']:.1f}",
        ]


def without_colour(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with the same lightness and no colour."""
    from fovea.ops.lab import grey, lightness

    return _bytes(grey(lightness(_tensor(image))).expand(-1, 3, -1, -1))[0].numpy()


def ab_distance(image: np.ndarray, other: np.ndarray) -> Tensor:
    """Return the distance (H, W) of two images (H, W, 3) uint8 in a and b."""
    from fovea.ops.lab import rgb_to_lab

    return (rgb_to_lab(_tensor(image)) - rgb_to_lab(_tensor(other)))[0, 1:].square().sum(0).sqrt()


def _fitted(picture: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Bring a picture to the size of an image; enlarged pixels stay squares."""
    from PIL import Image

    how = Image.Resampling.NEAREST if len(picture) <= len(image) else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize((image.shape[1], image.shape[0]), how))


def _tensor(image: np.ndarray) -> Tensor:
    """Return an image (H, W, 1 or 3) uint8 as (1, 3, H, W) in 0…1."""
    import torch

    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].expand(-1, 3, -1, -1).float() / 255


def _bytes(images: Tensor) -> Tensor:
    """Return images (B, 3, H, W) in 0…1 as uint8 (B, H, W, 3)."""
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1)


def _resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    from torch.nn.functional import interpolate

    if tuple(x.shape[2:]) == tuple(size):
        return x
    return interpolate(x, list(size), mode="bilinear", align_corners=False, antialias=True)
