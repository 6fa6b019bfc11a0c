"""A small data set in memory, and a data module of it."""

import numpy as np

from fovea.data.module import DataModule
from fovea.data.sources import ArrayImages
from helpers.real_formats import images


class Toy(ArrayImages):
    splits = ("all",)

    def __init__(self, *, split="all", count=60, size=(12, 12), channels=3):
        self.split, self.classes = split, ["a", "b", "c"]
        self.images = images(count, size, channels)
        self.labels = np.arange(count) % 3


class ToyFiles(Toy):
    """The same images, given one by one, as if from files."""

    def __init__(self, **options):
        super().__init__(**options)
        self.pixels = self.images
        self.images = None

    def __len__(self):
        return len(self.pixels)

    def load(self, index):
        return {"image": self.pixels[index], "label": int(self.labels[index])}


PREPROCESSING = ("image_size", "channels", "mean", "std", "interpolation", "crop_pct", "resize")


def toy_module(dataset=Toy, **options):
    preprocessing = {
        "image_size": 12,
        "channels": 3,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "resize": "crop",
    }
    preprocessing |= {key: options.pop(key) for key in PREPROCESSING if key in options}
    size = preprocessing["image_size"]
    preprocessing["image_size"] = [size, size] if isinstance(size, int) else list(size)
    defaults = {
        "dataset": dataset,
        "name": "toy",
        "num_classes": 3,
        "preprocessing": preprocessing,
        "batch_size": 8,
        "num_workers": 0,
        "val_fraction": 0.2,
        "test_fraction": 0.2,
    }
    return DataModule(**{**defaults, **options})
