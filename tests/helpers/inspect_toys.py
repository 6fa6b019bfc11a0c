"""Small data sets with faults that a test plants."""

from pathlib import Path

import numpy as np
from PIL import Image

from fovea.data.sources import FileImages
from fovea.inspect.collect import collect_findings
from fovea.inspect.image import inspect_split
from fovea.inspect.splits import SplitPart

NUMBERS = {"image_size": [48, 48], "mean": [0.5] * 3, "std": [0.25] * 3}


def textures(count, size=(64, 80), seed=0):
    """Make images unlike each other, with structure of every scale: (count, *size, 3) uint8."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(count):
        image = np.zeros((*size, 3))
        for cells, weight in ((3, 1.0), (6, 0.7), (12, 0.4), (40, 0.15)):
            coarse = rng.normal(0, 1, (cells, cells, 3)).astype(np.float32)
            layers = [
                Image.fromarray(coarse[..., c]).resize(size[::-1], Image.Resampling.BICUBIC) for c in range(3)
            ]
            image += weight * np.stack([np.asarray(layer) for layer in layers], axis=-1)
        image = (image - image.mean()) / image.std()
        out.append(np.clip(127.5 + 63.75 * image, 0, 255).astype(np.uint8))
    return np.stack(out)


class Toy(FileImages):
    """Image files with labels; `entries` adds annotations per image, by name."""

    targets = ("label",)

    def __init__(
        self, folder, names, labels, *, classes=("a", "b"), entries=None, split="train", official=None
    ):
        self.folder, self.ids, self.split, self.channels = Path(folder), list(names), split, 3
        self.paths = [self.folder / name for name in names]
        self.labels, self.classes = np.array(labels, dtype=np.int64), list(classes)
        self.entries, self.official = entries or {}, official or {}

    def annotate(self, index, image):
        entry = self.entries.get(self.ids[index], {})
        if isinstance(entry, Exception):
            raise entry
        return entry


def write(folder, count=24, *, prefix="", seed=0):
    """Write PNG files; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{prefix}{i:02d}.png" for i in range(count)]
    for name, image in zip(names, textures(count, seed=seed), strict=True):
        Image.fromarray(image).save(folder / name)
    return names


def toy(folder, names, *, split="train", **options):
    data = Toy(folder, names, options.pop("labels", np.arange(len(names)) % 2), split=split, **options)
    return SplitPart(split, data, np.arange(len(data)))


def look(*parts, side=48, **options):
    """Check parts; return the findings and the records."""
    records = [inspect_split(part, channels=3, side=side) for part in parts]
    preprocessing = {key: options.pop(key, value) for key, value in NUMBERS.items()}
    return collect_findings(parts, records, preprocessing=preprocessing, **options), records


def kinds(*parts, **options):
    return sorted(finding.kind for finding in look(*parts, **options)[0])
