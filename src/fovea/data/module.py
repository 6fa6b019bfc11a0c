"""Provide the one LightningDataModule: splits, batches, augmentation and normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as L
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from fovea.data.loading import SampleBatches, TensorBatches, build_loader, decoded, in_memory
from fovea.data.preprocess import Preprocess, match_channels
from fovea.data.sampling import EvalBatches, TrainBatches
from fovea.data.transforms import SampleTransform, fit
from fovea.data.views import View, build_views, check_batch_size, check_classes
from fovea.types import Batch, ImageDataset, Preprocessing


class DataModule(L.LightningDataModule):
    """Split a data set and serve its batches.

    `dataset` is a class or a partial of one, called with `split=…`. Splits that it lacks are taken from its
    training images: `val_fraction` and `test_fraction` of each class, fixed by `split_seed`. Results do not
    depend on `num_workers` or `cache`. `root`, `download` and `flip` are what the data set and the
    augmentations refer to.
    """

    channels_last = False

    def __init__(
        self,
        *,
        dataset: Callable[..., ImageDataset],
        name: str,
        num_classes: int | None,
        image_size: int | Sequence[int],
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int = 64,
        num_workers: int | str = "auto",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        seed: int = 0,
        interpolation: str = "bilinear",
        crop_pct: float = 1.0,
        cache: bool | str = "auto",
        augment_sample: Mapping[str, Any] | None = None,
        augment_batch: Mapping[str, Callable[..., Batch]] | None = None,
        root: str | None = None,
        download: bool = False,
        flip: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"data.batch_size={batch_size} must be at least 1")
        self.dataset, self.name, self.num_classes, self.batch_size = dataset, name, num_classes, batch_size
        self.num_workers, self.cache, self.seed, self.split_seed = num_workers, cache, seed, split_seed
        self.fractions = {"test": test_fraction, "val": val_fraction}
        self.root, self.download, self.flip = root, download, flip
        size = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
        self.preprocessing: Preprocessing = {
            "image_size": size,
            "channels": channels,
            "mean": list(mean),
            "std": list(std),
            "interpolation": interpolation,
            "crop_pct": crop_pct,
        }
        self.preprocess = Preprocess(self.preprocessing)
        sample = {k: v for k, v in (augment_sample or {}).items() if v is not None}
        self.augment_sample = SampleTransform(sample, seed=seed) if sample else None
        self.augment_batch = [v for v in (augment_batch or {}).values() if v is not None]
        self.views: dict[str, View] = {}
        self._batches: dict[str, TensorBatches | SampleBatches] = {}

    def prepare_data(self) -> None:
        """Download what is missing, if asked to; Lightning calls this on one process per machine."""
        owner = getattr(self.dataset, "func", self.dataset)
        if self.download and hasattr(owner, "prepare"):
            owner.prepare(**getattr(self.dataset, "keywords", {}))

    def setup(self, stage: str | None = None) -> None:
        """Read the data set and split it, once; ValueError where training on it makes no sense."""
        if not self.views:
            self.views = build_views(self.dataset, fractions=self.fractions, seed=self.split_seed)
            self.num_classes = self.num_classes or len(self.classes)
            check_classes(self.train, num_classes=self.num_classes, name=str(self.name))
            check_batch_size(self.train, batch_size=self.batch_size, name=str(self.name))

    @property
    def train(self) -> View:
        """The training images."""
        return self.views["train"]

    @property
    def val(self) -> View:
        """The validation images."""
        return self.views["val"]

    @property
    def test(self) -> View:
        """The test images."""
        return self.views["test"]

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the labels."""
        return self.train.classes

    def sizes(self) -> dict[str, int]:
        """Return the number of images of each split."""
        return {name: len(self.views[name]) for name in ("train", "val", "test")}

    def summary(self) -> dict[str, Any]:
        """Describe the data for summary.json."""
        counts = {f"num_{name}": count for name, count in self.sizes().items()}
        source = getattr(self.train.dataset, "source", "real")
        return {
            "name": self.name,
            "source": source,
            **counts,
            "num_classes": self.num_classes,
            "classes": self.classes,
        }

    def train_dataloader(self) -> DataLoader[Batch]:
        """Serve shuffled full batches; with overfit_batches the same ones every epoch."""
        rank, world = self._ranks()
        shuffle = not getattr(self.trainer, "overfit_batches", 0)
        size, seed = len(self.train), self.seed
        return self._loader(
            "train",
            TrainBatches(
                size=size, batch_size=self.batch_size, seed=seed, rank=rank, world=world, shuffle=shuffle
            ),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Serve every validation image once."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Serve every test image once."""
        return self._eval_loader("test")

    def _eval_loader(self, split: str) -> DataLoader[Batch]:
        rank, world = self._ranks()
        size = len(self.views[split])
        return self._loader(split, EvalBatches(size=size, batch_size=self.batch_size, rank=rank, world=world))

    def _loader(self, split: str, batches: TrainBatches | EvalBatches) -> DataLoader[Batch]:
        if split not in self._batches:
            self._batches[split] = self._serve(split)
        pin = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return build_loader(self._batches[split], batches=batches, workers=self.num_workers, pin=pin)

    def _serve(self, split: str) -> TensorBatches | SampleBatches:
        view, size = self.views[split], self.preprocess.size
        options = self.preprocessing
        finish = partial(fit, size=size, interpolation=options["interpolation"], crop_pct=options["crop_pct"])
        if split == "train" and self.augment_sample is not None:
            images = decoded(view, cache=self.cache)
            return SampleBatches(view, finish=finish, transform=self.augment_sample, images=images)
        tensor = in_memory(view, finish=finish, size=size, cache=self.cache)
        return SampleBatches(view, finish=finish) if tensor is None else TensorBatches(tensor, view.labels)

    def _ranks(self) -> tuple[int, int]:
        if dist.is_available() and dist.is_initialized():
            return dist.get_rank(), dist.get_world_size()
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move the tensors; `index` stays on the host, where random numbers and names are looked up."""
        moved = {
            k: v.to(device, non_blocking=True)
            for k, v in batch.items()
            if torch.is_tensor(v) and k != "index"
        }
        return {**batch, **moved}  # type: ignore[typeddict-item]

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment training batches, then normalise."""
        training = self.trainer is not None and bool(self.trainer.training)
        batch = self.finish_batch(batch, training=training)
        return batch if self.trainer is None else self.trainer.precision_plugin.convert_input(batch)

    def finish_batch(self, batch: Batch, *, training: bool) -> Batch:
        """Turn a uint8 batch into a network input."""
        batch = {**batch, "image": match_channels(batch["image"], channels=self.preprocess.channels)}
        if training:
            for augment in self.augment_batch:
                batch = augment(batch, seed=self.seed, num_classes=self.num_classes)
        image = self.preprocess.to_input(batch["image"])
        batch["image"] = image.contiguous(memory_format=torch.channels_last) if self.channels_last else image
        return batch
