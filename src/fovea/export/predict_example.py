"""Predict one image with the exported network of this folder: `python predict_example.py IMAGE`.

Needs numpy, opencv-python-headless and onnxruntime (for .onnx) or torch (for .pt and .pt2), but nothing of
the code that trained the network. Transparency and more than 8 bits are ignored.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
    "area": cv2.INTER_AREA,
}
Model = Callable[[np.ndarray], dict[str, np.ndarray]]


def open_model(file: str | Path, about: dict[str, Any], *, threads: int | None = None) -> Model:
    """Return a function from inputs (B, C, H, W) float32 to the named outputs."""
    names = [output["name"] for output in about["outputs"]]
    return OPEN[about["format"]](str(file), names, threads)


def _open_onnx(file: str, names: list[str], threads: int | None) -> Model:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = threads or 0  # 0: as many as there are cores
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    return lambda x: dict(zip(names, session.run(names, {entry: x}), strict=True))


def _open_torchscript(file: str, names: list[str], threads: int | None) -> Model:
    import torch

    return _of_torch(torch.jit.load(file, map_location="cpu"), names)


def _open_torch_export(file: str, names: list[str], threads: int | None) -> Model:
    import torch

    return _of_torch(torch.export.load(file).module(), names)


def _of_torch(net: Any, names: list[str]) -> Model:
    import torch

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            found = net(torch.from_numpy(x))
        found = found if isinstance(found, dict) else {names[0]: found}
        return {name: found[name].numpy() for name in names}

    return run


OPEN = {"onnx": _open_onnx, "torchscript": _open_torchscript, "torch_export": _open_torch_export}


def read(path: str) -> np.ndarray:
    """Decode an image to uint8 (H, W, 3), RGB."""
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        sys.exit(f"{path} cannot be read as an image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def preprocess(image: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Turn an RGB image (H, W, 3) uint8 into the network's input (1, C, H, W) float32."""
    if options["channels"] == 1:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    image = fit(image, tuple(options["image_size"]), options)
    mean, std = np.array(options["mean"]), np.array(options["std"])
    x = image.astype(np.float32) * (1 / (255 * std)).astype(np.float32) + (-mean / std).astype(np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None])


def fit(image: np.ndarray, size: tuple[int, ...], options: dict[str, Any]) -> np.ndarray:
    """Bring an image to the input size.

    crop: the centred part with the aspect of the input, `crop_pct` of what fits; pad: the whole image between
    black borders; stretch: the whole image, changing its aspect.
    """
    (height, width), resize = image.shape[:2], options.get("resize", "crop")
    if (height, width) == size or resize == "stretch":
        return _resized(image, size, options)
    ratios = size[0] / height, size[1] / width
    if resize == "pad":
        inner = [min(s, max(1, round(n * min(ratios)))) for s, n in zip(size, (height, width), strict=True)]
        top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
        out = np.zeros((*size, image.shape[2]), np.uint8)
        out[top : top + inner[0], left : left + inner[1]] = _resized(image, tuple(inner), options)
        return out
    scale = max(ratios) / options["crop_pct"]
    crop = [max(1, min(n, round(s / scale))) for s, n in zip(size, (height, width), strict=True)]
    top, left = round((height - crop[0]) / 2), round((width - crop[1]) / 2)
    return _resized(image[top : top + crop[0], left : left + crop[1]], size, options)


def _resized(image: np.ndarray, size: tuple[int, ...], options: dict[str, Any]) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    shrinks = size[0] < image.shape[0] or size[1] < image.shape[1]
    flag = cv2.INTER_AREA if shrinks else INTERPOLATION[options["interpolation"]]
    return cv2.resize(image, size[::-1], interpolation=flag).reshape(*size, -1)


def describe(outputs: dict[str, np.ndarray], classes: list[str], *, top: int = 5) -> list[str]:
    """Return the most probable classes where the output is one score per class, else names and shapes."""
    first = next(iter(outputs.values()))
    if len(outputs) > 1 or first.shape != (1, len(classes)):
        return [f"{name}  {list(value.shape)}  {value.dtype}" for name, value in outputs.items()]
    scores = first[0].astype(np.float64)
    probs = np.exp(scores - scores.max())
    probs /= probs.sum()
    return [f"{probs[i]:.4f}  {classes[i]}" for i in np.argsort(-probs, kind="stable")[:top]]


def main(path: str) -> None:
    """Print the prediction for one image."""
    folder = Path(__file__).resolve().parent
    about = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    model = open_model(folder / about["file"], about)
    lines = describe(model(preprocess(read(path), about["preprocessing"])), about["classes"])
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("say which image: python predict_example.py IMAGE")
    main(sys.argv[1])
