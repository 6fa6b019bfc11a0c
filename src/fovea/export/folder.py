"""Make an exported folder self-contained: classes, preprocessing, checks, an example, a page to read."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from fovea import reading
from fovea.data import images
from fovea.engine.trained import Trained
from fovea.export import predict_example
from fovea.export.formats import Format, leaves
from fovea.files import write_json, write_text
from fovea.ops import placement

_OWN = re.compile(r"from fovea\.(?:\w+\.)?(\w+) import")  # our modules lie beside the example

README = """# {name}, exported as {format}

`{file}` maps `{input}` to {outputs}. Any batch size will do.

- **Input**: RGB images brought to {size} ({resize}, {interpolation} with antialiasing), divided by 255, minus
  {mean}, divided by {std}.
- **Classes**: {num_classes}, in the order of the outputs, in `export.json`.{meaning}
- **Checked** on {source}: largest difference to the network {difference:.2g} (tolerance {tolerance:g}).
- **Latency**, one image, CPU, threads {threads}: {exported:.3g} ms; PyTorch {own:.3g} ms (medians).

```
pip install numpy pillow opencv-python-headless {packages}
python predict_example.py IMAGE
```

`export.json` holds all of it for programs.
"""


MEANING = {  # of the output, by the task of the net
    "detection": """
- **Boxes**: a row for each detection of an image, the most certain first: x1 y1 x2 y2 in pixels of the input,
  score, number of the class. Duplicates are suppressed inside of the file. Rows with score 0 are empty.""",
    "localization": """
- **Box**: a row has the logits of the classes, then x1 y1 x2 y2 as shares of the sides of the input.""",
}


def facts(trained: Trained, form: Format, x: Tensor) -> dict[str, Any]:
    """Describe the network and what it takes and gives; `x` is a batch of at least 2 inputs."""
    config = trained.config
    return {
        "format": form.name,
        "file": form.file,
        "experiment": config.get("experiment"),
        "model": {"name": config.model.name, "params": sum(p.numel() for p in trained.net.parameters())},
        "checkpoint": str(trained.path),
        "classes": trained.classes,
        "preprocessing": dict(trained.preprocessing),
        **trained.labelling,
        "task": getattr(trained.net, "task", None),
        "inputs": [_port("image", x, len(x))],
        "outputs": [_port(name, value, len(x)) for name, value in leaves(trained.net(x)).items()],
        "versions": {"python": platform.python_version()}
        | {p: version(p) for p in ("torch", *form.packages)},
    }


def _port(name: str, value: Tensor, batch: int) -> dict[str, Any]:
    shape: list[int | str] = list(value.shape)
    if shape and shape[0] == batch:
        shape[0] = "batch"
    return {"name": name, "shape": shape, "dtype": str(value.dtype).removeprefix("torch.")}


def write(folder: Path, about: dict[str, Any]) -> None:
    """Write everything beside the network's file."""
    write_json(folder / "export.json", about)
    write_text(folder / "README.md", page(about))
    for module in (predict_example, images, placement, reading):
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        write_text(folder / Path(str(module.__file__)).name, _OWN.sub(r"from \1 import", text))


def page(about: dict[str, Any]) -> str:
    """Return the folder's README."""
    options, parity, cost = about["preprocessing"], about["parity"], about["latency"]
    shown = [f"`{o['name']}` {_shape(o['shape'])}" for o in about["outputs"]]
    colours = "RGB" if options["channels"] == 3 else "grey"
    return README.replace("RGB", colours).format(
        name=about["model"]["name"], format=about["format"], file=about["file"],
        input=f"image {_shape(about['inputs'][0]['shape'])}", outputs=", ".join(shown),
        size=" x ".join(map(str, options["image_size"])), resize=options.get("resize", "crop"),
        interpolation=options["interpolation"], mean=options["mean"], std=options["std"],
        num_classes=len(about["classes"]), meaning=MEANING.get(str(about.get("task")), ""),
        source=f"{parity['images']} {parity['source']}",
        difference=parity["max_abs_difference"], tolerance=parity["tolerance"], threads=cost["threads"],
        exported=cost["exported_p50_ms"], own=cost["torch_p50_ms"],
        packages="onnxruntime" if "onnxruntime" in about["versions"] else "torch",
    )  # fmt: skip


def _shape(shape: list[int | str]) -> str:
    return f"({', '.join(map(str, shape))})"
