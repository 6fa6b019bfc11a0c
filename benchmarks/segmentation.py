"""Compare segmentation with what a careful person writes without any framework, in CPU time, in turns.

python benchmarks/segmentation.py
First a training step of a small U-Net through the Trainer with that of a bare loop over the same batches,
net, losses and optimizer (below 1, fovea is faster), without and with metrics of the training images: the
median of the steps, each from the start of one to the next. Then crop, turn, flip and colour of 256 px
images with their masks, on one core, with torchvision's transforms (above 1, fovea is faster).
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import logging
import statistics
import sys
import time
import warnings
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import albumentations as A
import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from fovea.data.transforms import SampleTransform
from fovea.metrics.segmentation import MeanDice, MeanIoU, PixelAccuracy
from fovea.models.unet import UNet
from fovea.ops.mask_losses import CrossEntropy
from fovea.ops.region_losses import Dice
from fovea.tasks.segmentation.task import Segmentation
from steps import fitted, median_step, show

CLASSES, BATCH = 9, 16


def data(count, size):
    draw = torch.Generator().manual_seed(0)
    image = torch.randn(count, 3, size, size, generator=draw)
    coarse = torch.randint(CLASSES, (count, size // 8, size // 8), generator=draw)
    return image, coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)


class InMemory(torch.utils.data.Dataset):
    def __init__(self, image, mask):
        self.image, self.mask = image, mask

    def __len__(self):
        return len(self.image)

    def __getitems__(self, rows):
        return {"image": self.image[rows], "mask": self.mask[rows]}


def net(width):
    torch.manual_seed(0)
    return UNet(num_classes=CLASSES, width=width, depth=3, padding=True, batch_norm=True)


def loader(image, mask):
    return DataLoader(InMemory(image, mask), batch_size=BATCH, shuffle=True, collate_fn=lambda batch: batch)


def ours(image, mask, width, metrics):
    values = {"iou": MeanIoU, "dice": MeanDice, "pixel_acc": PixelAccuracy}
    task = Segmentation(
        net=net(width),
        losses={"ce": CrossEntropy(), "dice": Dice()},
        metrics={name: metric(num_classes=CLASSES) for name, metric in values.items()} if metrics else {},
        optimizer=partial(torch.optim.Adam, lr=1e-3),
    )
    return fitted(task, loader(image, mask))


def bare(image, mask, width):
    model, ce, dice = net(width).train(), CrossEntropy(), Dice()
    steps, times = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for batch in loader(image, mask):
        times.append(time.process_time())
        steps.zero_grad()
        logits = model(batch["image"])
        loss = ce(logits, batch["mask"]) + dice(logits, batch["mask"])
        loss.backward()
        steps.step()
    return median_step(times)


def photos(count, size):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
    images = [cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) for image in coarse]
    masks = [cv2.resize(image[..., 0] % 9, (size, size), interpolation=cv2.INTER_NEAREST) for image in coarse]
    return images, masks


def with_fovea(images, masks, size):
    """Do what augment=dense does, each step for every image."""
    transform = SampleTransform(
        {
            "crop": A.RandomResizedCrop(
                size=(size, size), scale=(0.35, 1), ratio=(0.75, 1.3333), area_for_downscale="image",
                mask_interpolation=cv2.INTER_NEAREST_EXACT,
            ),
            "affine": A.Affine(rotate=(-10, 10), scale=(0.9, 1.1), translate_percent=(-0.07, 0.07), p=1),
            "flip": A.HorizontalFlip(p=0.5),
            "color": A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02, p=1),
        },
        seed=0,
    )  # fmt: skip
    pairs = enumerate(zip(images, masks, strict=True))
    return [transform({"image": image, "mask": mask}, epoch=0, index=i) for i, (image, mask) in pairs]


def with_torchvision(images, masks, size):
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: 255}
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.35, 1), ratio=(0.75, 1.3333)),
            v2.RandomAffine(
                10, (0.07, 0.07), (0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR, fill=fill
            ),
            v2.RandomHorizontalFlip(0.5),
            v2.ColorJitter(0.2, 0.2, 0.2, 0.02),
        ]
    )
    return [transform(image, mask) for image, mask in zip(images, masks, strict=True)]


def rate(run, count):
    start = time.process_time()
    run()
    return count / (time.process_time() - start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    image, mask = data(options.images, options.size)
    for name, metrics in (("U-Net, losses only", False), ("U-Net, with IoU, Dice and accuracy", True)):
        ours(image, mask, options.width, metrics), bare(image, mask, options.width)  # not counted
        ratios = [
            ours(image, mask, options.width, metrics) / bare(image, mask, options.width)
            for _ in range(options.rounds)
        ]
        show(f"{name}, {options.size} px", ratios, "<= 1.05")
    images, masks = photos(64, 256)
    first = partial(with_fovea, images, masks, 256)
    planes = [tv_tensors.Image(torch.from_numpy(x).permute(2, 0, 1).contiguous()) for x in images]
    maps = [tv_tensors.Mask(torch.from_numpy(x)) for x in masks]
    second = partial(with_torchvision, planes, maps, 256)
    first(), second()
    pairs = [(rate(first, 64), rate(second, 64)) for _ in range(options.rounds)]
    fast, slow = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    show(f"256 px with mask, {fast:.0f} / {slow:.0f} images/s", [a / b for a, b in pairs], ">= 2")


if __name__ == "__main__":
    main()
