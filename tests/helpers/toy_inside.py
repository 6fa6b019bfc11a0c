"""A model of a small net and drawn images, for the tests of what is inside a net."""

import csv

import torch

from fovea.explain.core.class_choice import LogitSelector
from fovea.explain.core.model import ExplainedModel, ImageBatch
from fovea.explain.core.pixels import Pixels
from helpers.inner_nets import PIXELS, make, pictures

GREY = Pixels(mean=[0.5], std=[0.25])


def toy_model(net="cnn", *, count=5, size=16, channels=3, known=True, unreadable=(), classes=5, batch=2):
    """Build it; `net` is a name of inner_nets or a module, `unreadable` are rows that `load` leaves out."""
    images = pictures(count, channels=channels, size=size)
    pixels = PIXELS if channels == 3 else GREY
    names = [f"class {i}, another name" for i in range(classes)]

    def load(rows):
        kept = [row for row in rows if row not in unreadable]
        label = torch.tensor([row % classes if known else -1 for row in kept], dtype=torch.long)
        return ImageBatch(image=pixels.encode(images[kept]), rows=kept, label=label)

    return ExplainedModel(
        name="toy",
        net=(make(net) if isinstance(net, str) else net).eval(),
        device=torch.device("cpu"),
        classes=names,
        pixels=pixels,
        size=(size, size),
        ids=[f"some where/image {row}.png" for row in range(count)],
        load=load,
        selector=LogitSelector(classes=names),
        batch_size=batch,
    )


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def html(blocks):
    return "".join(block.html() for block in blocks)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def repeats(analysis, model, tmp_path):
    """Say whether a second call writes the same bytes and leaves the global generator alone."""
    found = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        state = torch.random.get_rng_state()
        analysis(model, folder)
        assert torch.equal(state, torch.random.get_rng_state())
        found.append(files(folder))
    return found[0] == found[1]
