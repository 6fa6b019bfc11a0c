"""Predict one image with the exported network of this folder: `python predict_example.py IMAGE`.

Needs numpy, pillow, opencv-python-headless and onnxruntime (for .onnx) or torch (for .pt and .pt2).
images.py, placement.py and reading.py, beside it, read and resize as in training.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fovea.data.images import enough_for, read_image, to_channels
from fovea.ops.placement import place

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


def preprocess(image: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Turn an image (H, W, 1 or 3) uint8 into the network's input (1, C, H, W) float32."""
    image = to_channels(image, channels=options["channels"])
    resize, mean, std = options.get("resize", "crop"), np.array(options["mean"]), np.array(options["std"])
    size = (options["image_size"][0], options["image_size"][1])
    where = place(image.shape[:2], size=size, resize=resize, crop_pct=options["crop_pct"])
    border = [round(255 * m) if resize == "pad" else 0 for m in options["mean"]]
    image = where.raster(image, interpolation=options["interpolation"], fill=border)
    x = image.astype(np.float32) * (1 / (255 * std)).astype(np.float32) + (-mean / std).astype(np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None])


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
    try:
        options = about["preprocessing"]
        enough = enough_for(options["image_size"], options["interpolation"])
        image = read_image(path, channels=options["channels"], enough=enough)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    lines = describe(model(preprocess(image, about["preprocessing"])), about["classes"])
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("say which image: python predict_example.py IMAGE")
    main(sys.argv[1])
