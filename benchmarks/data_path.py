"""Compare the data path with PIL and torchvision's first transforms, one core, in turns.

python benchmarks/data_path.py
Both sides read the same images and end in normalised float batches. Above 1, fovea is faster.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import albumentations as A
import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1

from fovea.data.datasets.folder import Folder
from fovea.data.module import DataModule
from fovea.data.sources import ArrayImages
from fovea.ops.augment import HorizontalFlip, RandomShift

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 64


def photos(count, size):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) for image in coarse])


class Arrays(ArrayImages):
    splits = ("all",)

    def __init__(self, *, split="all", images):
        self.split, self.images, self.classes = split, images, ["a", "b"]
        self.labels = np.arange(len(images)) % 2


class Pil(Dataset):
    """What a hand-written data set does: PIL images through torchvision's transforms."""

    def __init__(self, sources, transform):
        self.sources, self.transform = sources, transform

    def __len__(self):
        return len(self.sources)

    def __getitem__(self, index):
        source = self.sources[index]
        image = Image.open(source).convert("RGB") if isinstance(source, Path) else Image.fromarray(source)
        return self.transform(image), index % 2


def ours(dataset, size, sample, batch):
    preprocessing = {
        "image_size": [size, size],
        "channels": 3,
        "mean": list(MEAN),
        "std": list(STD),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
    }
    module = DataModule(
        dataset=dataset, name="bench", num_classes=2, preprocessing=preprocessing, batch_size=BATCH,
        num_workers=0, val_fraction=0.01, test_fraction=0.01, cache=False,
        augment_sample=sample, augment_batch=batch,
    )  # fmt: skip
    module.setup()
    loader = module.train_dataloader()
    return lambda: sum(len(module.finish_batch(b, training=True)["image"]) for b in loader)


def floor(sources, transform):
    loader = DataLoader(Pil(sources, transform), batch_size=BATCH, shuffle=True)
    return lambda: sum(len(image) for image, _ in loader)


def rate(run):
    start = time.process_time()
    count = run()
    return count / (time.process_time() - start)


def compare(name, fast, slow, target, rounds):
    fast(), slow()
    pairs = [(rate(fast), rate(slow)) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in pairs)
    a, b = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    print(f"{name:<52} {a:8.0f} / {b:6.0f} images/s  ratio {ratio:.2f} (target {target})", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    normalise = [v1.ToTensor(), v1.Normalize(MEAN, STD)]
    with tempfile.TemporaryDirectory() as root:
        paths = []
        for number, image in enumerate(photos(options.images, 96)):
            path = Path(root) / "ab"[number % 2] / f"{number:05d}.jpg"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(image).save(path, quality=90)
            paths.append(path)
        crop = {"crop": A.RandomResizedCrop(size=(64, 64), scale=(0.35, 1.0), area_for_downscale="image")}
        fast = ours(partial(Folder, root=root), 64, crop, {"flip": HorizontalFlip()})
        hand = v1.Compose(
            [v1.RandomResizedCrop(64, scale=(0.35, 1.0)), v1.RandomHorizontalFlip(), *normalise]
        )
        compare("JPEG 96 px: crop to 64, flip, normalise", fast, floor(paths, hand), 2.2, options.rounds)
    arrays = photos(4 * options.images, 32)
    fast = ours(partial(Arrays, images=arrays), 32, {}, {"shift": RandomShift(), "flip": HorizontalFlip()})
    hand = v1.Compose([v1.RandomCrop(32, padding=4), v1.RandomHorizontalFlip(), *normalise])
    compare("arrays 32 px: padded crop, flip, normalise", fast, floor(arrays, hand), 3.5, options.rounds)


if __name__ == "__main__":
    main()
