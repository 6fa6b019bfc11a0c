"""Predict one image with the exported network of this folder: `python predict_example.py IMAGE [OUT.png]`.

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
from fovea.ops.placement import Placement, place

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


def placement(image: np.ndarray, options: dict[str, Any]) -> Placement:
    """Return where an image lies in the network's input."""
    size = (options["image_size"][0], options["image_size"][1])
    resize, share = options.get("resize", "crop"), options["crop_pct"]
    return place((image.shape[0], image.shape[1]), size=size, resize=resize, crop_pct=share)


def preprocess(image: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Turn an image (H, W, 1 or 3) uint8 into the network's input (1, C, H, W) float32."""
    image = to_channels(image, channels=options["channels"])
    resize, mean, std = options.get("resize", "crop"), np.array(options["mean"]), np.array(options["std"])
    where = placement(image, options)
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


def boxes(outputs: dict[str, np.ndarray], where: Placement, *, least: float = 0.3) -> np.ndarray:
    """Return the detections (n, 6) of a detector above a score: x1 y1 x2 y2 in the photo, score, class."""
    found = next(iter(outputs.values()))[0]
    found = found[found[:, 4] >= least]
    return np.concatenate([_in_photo(found[:, :4], where), found[:, 4:]], axis=1)


def box_of(outputs: dict[str, np.ndarray], where: Placement) -> np.ndarray:
    """Return the one box (1, 6) of a localiser, with the class of it and its probability."""
    row = next(iter(outputs.values()))[0].astype(np.float64)
    probs = np.exp(row[:-4] - row[:-4].max())
    probs /= probs.sum()
    box = _in_photo(row[None, -4:] * np.tile(where.size[::-1], 2), where)
    box = np.concatenate([np.minimum(box[:, :2], box[:, 2:]), np.maximum(box[:, :2], box[:, 2:])], axis=1)
    return np.concatenate([box, [[probs.max(), probs.argmax()]]], axis=1)


def _in_photo(corners: np.ndarray, where: Placement) -> np.ndarray:
    """Bring boxes (n, 4) in pixels of the input back to those of the photo."""
    back = where.back(corners.reshape(-1, 2)).reshape(-1, 4)
    return back.clip(0, np.tile(where.shape[::-1], 2))


BOXES = {"detection": boxes, "localization": box_of}


def draw(image: np.ndarray, found: np.ndarray, classes: list[str], file: str) -> None:
    """Write the photo with its boxes."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(to_channels(image, channels=3))
    pen = ImageDraw.Draw(picture)
    for *box, score, label in found.tolist():
        pen.rectangle(box, outline=(230, 40, 40), width=max(2, picture.width // 400))
        pen.text((box[0] + 4, box[1] + 2), f"{classes[int(label)]} {score:.2f}", fill=(230, 40, 40))
    picture.save(file)


def main(path: str, drawn: str | None = None) -> None:
    """Print the prediction for one image, and draw its boxes where a network finds some."""
    folder = Path(__file__).resolve().parent
    about = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    model = open_model(folder / about["file"], about)
    options, find = about["preprocessing"], BOXES.get(about.get("task"))
    try:
        enough = None if find else enough_for(options["image_size"], options["interpolation"])
        image = read_image(path, channels=options["channels"], enough=enough)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    outputs = model(preprocess(image, options))
    if find is None:
        lines = describe(outputs, about["classes"])
    else:
        found = find(outputs, placement(image, options))
        lines = [_line(row, about["classes"]) for row in found.tolist()] or ["nothing found"]
        if drawn:
            draw(image, found, about["classes"], drawn)
    sys.stdout.write("\n".join(lines) + "\n")


def _line(row: list[float], classes: list[str]) -> str:
    *box, score, label = row
    return f"{score:.4f}  {classes[int(label)]}  " + " ".join(f"{value:.1f}" for value in box)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("say which image: python predict_example.py IMAGE [OUT.png]")
    main(*sys.argv[1:])
