"""Provide the one LightningDataModule: splits, batches, augmentation and normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import lightning.pytorch as L
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from fovea.data.collate import split_boxes
from fovea.data.left_out import LeftOut
from fovea.data.loading import SampleBatches, TensorBatches, build_dataset, build_loader
from fovea.data.preprocess import Preprocess, luma, match_channels
from fovea.data.recorded import Differences, Recorded, match, record, recorded_ids
from fovea.data.sampling import EvalBatches, TrainBatches, fitted_batch_size
from fovea.data.splits import (
    build_splits,
    check_classes,
    check_images,
    select_targets,
    warn_of_near_names,
)
from fovea.data.subset import Subset
from fovea.data.transforms import SampleTransform
from fovea.data.vocabulary import vocabulary_of
from fovea.types import Batch, ImageDataset, Preprocessing

if TYPE_CHECKING:
    from fovea.data.vocabulary import Vocabulary


class DataModule(L.LightningDataModule):
    """Split a data set and serve its batches.

    `dataset` is a class or a partial of one, called with `split=…`. Splits that it lacks are taken from its
    training images: `val_fraction` and `test_fraction` of each class, fixed by `split_seed`. Which training
    images train is said by `train_fraction`, `limit_per_class` and `fold` of `num_folds`. `targets` are what
    of the annotations a batch holds (None: all that the data set has; `grey`, the luma of the augmented
    image, can always be added). A file that cannot be read ends the run, or with on_error="skip" is left out
    and counted. Results do not depend on `num_workers` or `cache`. `download` calls the data set's `prepare`.
    """

    channels_last = False
    own_size = False  # the task measures the test images at their own size, so they are served as they are

    def __init__(
        self,
        *,
        dataset: Callable[..., ImageDataset],
        name: str,
        num_classes: int | None,
        preprocessing: Preprocessing,
        batch_size: int = 64,
        num_workers: int | str = "auto",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        train_fraction: float | None = None,
        limit_per_class: int | None = None,
        fold: int | None = None,
        num_folds: int | None = None,
        targets: Sequence[str] | None = None,
        on_error: str = "raise",
        seed: int = 0,
        cache: bool | str = "auto",
        augment_sample: Mapping[str, Any] | None = None,
        augment_batch: Mapping[str, Callable[..., Batch]] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__()
        if on_error not in ("raise", "skip"):
            raise ValueError(f"data.on_error={on_error!r} must be raise or skip")
        self.dataset, self.name, self.num_classes, self.batch_size = dataset, name, num_classes, batch_size
        self.num_workers, self.cache, self.seed = num_workers, cache, seed
        self.download, self.skip = download, on_error == "skip"
        self._build_splits = partial(
            build_splits,
            fractions={"test": test_fraction, "val": val_fraction},
            seed=split_seed,
            train_fraction=train_fraction,
            limit_per_class=limit_per_class,
            fold=fold,
            num_folds=num_folds,
        )
        self._reduced = train_fraction is not None or limit_per_class is not None
        self.grey = targets is not None and "grey" in targets
        self.targets = None if targets is None else [key for key in targets if key != "grey"]
        self.preprocessing = preprocessing
        self.preprocess = Preprocess(preprocessing)
        sample = {k: v for k, v in (augment_sample or {}).items() if v is not None}
        self.augment_sample = SampleTransform(sample, seed=seed) if sample else None
        self.augment_batch = [v for v in (augment_batch or {}).values() if v is not None]
        self.splits: dict[str, Subset] = {}
        self.vocabulary: Vocabulary | None = None
        self.recorded: Recorded | None = None  # by the run whose data these are
        self.differences = Differences()
        self.left_out = LeftOut()
        self._batches: dict[str, TensorBatches | SampleBatches] = {}

    def prepare_data(self) -> None:
        """Download what is missing, if asked to; Lightning calls this on one process per machine."""
        owner = getattr(self.dataset, "func", self.dataset)
        if self.download and hasattr(owner, "prepare"):
            owner.prepare(**getattr(self.dataset, "keywords", {}))

    def setup(self, stage: str | None = None) -> None:
        """Read the data set and split it, once; ValueError where training on it makes no sense."""
        if not self.splits:
            name, splits = str(self.name), self._build_splits(self.dataset)
            select_targets(splits, self.targets, name=name)
            if self.recorded is not None:
                splits, self.differences = match(splits, self.recorded, name=name, training=stage == "fit")
                self.differences.tell(name, training=stage == "fit")
            check_images(splits, name=name)
            warn_of_near_names(splits["train"].classes, name=name)
            self.num_classes = self.num_classes or len(splits["train"].classes)
            if self.recorded is None or stage == "fit":
                check_classes(splits["train"], num_classes=self.num_classes, name=name)
            if "captions" in splits["train"].targets:
                self.vocabulary = vocabulary_of(splits["train"])
            for subset in splits.values():
                subset.reduce(self.preprocess.enough)
            self.splits = splits
            if self.recorded is None or stage == "fit":
                self._fit_batch_size()

    def _fit_batch_size(self, processes: int = 1) -> None:
        """Lower a batch size that the training images of each process do not fill."""
        self.batch_size = fitted_batch_size(
            len(self.train), batch_size=self.batch_size, name=str(self.name), reduced=self._reduced,
            processes=processes,
        )  # fmt: skip

    @property
    def train(self) -> Subset:
        """The training images."""
        return self.splits["train"]

    @property
    def val(self) -> Subset:
        """The validation images."""
        return self.splits["val"]

    @property
    def test(self) -> Subset:
        """The test images."""
        return self.splits["test"]

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the labels."""
        return self.train.classes

    @property
    def same_names(self) -> bool:
        """Whether the parts that a run drew were found again by the names of images."""
        drawn = "test" in self.splits and self.test.dataset is self.train.dataset
        return drawn and self.recorded is not None and not self.differences.elsewhere

    def sizes(self) -> dict[str, int]:
        """Return the number of images of each split."""
        return {name: len(self.splits[name]) for name in ("train", "val", "test")}

    def summary(self) -> dict[str, Any]:
        """Describe the data for summary.json."""
        counts = {f"num_{name}": count for name, count in self.sizes().items()}
        source = getattr(self.train.dataset, "source", "real")
        about = {"num_classes": self.num_classes, "classes": self.classes}
        found = {"name": self.name, "source": source, **counts, **about}
        return found | self.left_out.summary(self.splits) if self.skip else found

    def record(self) -> dict[str, str]:
        """Return which images train, validate and test, for the checkpoint."""
        return record(self.splits, before=self.recorded)

    def labelling(self) -> dict[str, Any]:
        """Describe what numbers mean: colours of masks, words of captions, ids of classes."""
        palette = getattr(self.train.dataset, "palette", None)
        found: dict[str, Any] = recorded_ids(self.train.dataset, self.classes)
        found |= {} if palette is None else {"palette": palette.tolist()}
        return found if self.vocabulary is None else found | {"vocabulary": list(self.vocabulary.words)}

    def teardown(self, stage: str) -> None:
        """Learn what the other processes left out."""
        if self.skip:
            self.left_out.gather()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Serve shuffled full batches; with overfit_batches the same ones every epoch."""
        rank, world = self._ranks()
        if world > 1:
            self._fit_batch_size(world)
        shuffle = not getattr(self.trainer, "overfit_batches", 0)
        size, seed = len(self.train), self.seed
        return self._loader(
            "train",
            TrainBatches(
                size=size, batch_size=self.batch_size, seed=seed, rank=rank, world=world, shuffle=shuffle
            ),
        )

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Serve every validation image once; an empty list where there is none."""
        return self._eval_loader("val") if len(self.val) else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Serve every test image once."""
        return self._eval_loader("test")

    def _eval_loader(self, split: str) -> DataLoader[Batch]:
        rank, world = self._ranks()
        size = len(self.splits[split])
        alone = split == "test" and self._unfitted
        batch_size = 1 if alone else self.batch_size
        batches = EvalBatches(size=size, batch_size=batch_size, rank=rank, world=world)
        if alone and self.skip:  # a batch of one image has no other in its place
            batches.indices = [i for i in batches.indices if self._readable(split, i)]
        return self._loader(split, batches)

    def _readable(self, split: str, index: int) -> bool:
        try:
            self.splits[split].load(index)
        except (OSError, ValueError):
            self.left_out.add(split, index, subset=self.splits[split])
            return False
        return True

    @property
    def _unfitted(self) -> bool:
        """Whether test images come as they are: not where all have the input size anyway."""
        data = self.splits["test"].dataset
        images = getattr(data, "images", None)
        size = getattr(data, "size", None) if images is None else images.shape[1:3]
        return self.own_size and size != self.preprocess.size

    def _loader(self, split: str, batches: TrainBatches | EvalBatches) -> DataLoader[Batch]:
        if split not in self._batches:
            training = split == "train"
            self._batches[split] = build_dataset(
                self.splits[split],
                preprocess=self.preprocess,
                training=training,
                transform=self.augment_sample if training else None,
                encode=None if self.vocabulary is None else self.vocabulary.encode,
                cache=self.cache,
                skip=self.skip,
                seed=self.seed,
                own_size=split == "test" and self._unfitted,
            )
        pin = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return build_loader(self._batches[split], batches=batches, workers=self.num_workers, pin=pin)

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
        self._count_skipped(batch)
        if self.trainer is not None and self.trainer.testing and self._unfitted:
            return {**batch, "image": match_channels(batch["image"], channels=self.preprocess.channels)}
        batch = self.finish_batch(batch, training=training)
        return batch if self.trainer is None else self.trainer.precision_plugin.convert_input(batch)

    def _count_skipped(self, batch: Batch) -> None:
        if "skipped" not in batch or self.trainer is None:
            return
        split = "train" if self.trainer.training else "test" if self.trainer.testing else "val"
        for index in batch["skipped"]:
            self.left_out.add(split, index, subset=self.splits[split])

    def finish_batch(self, batch: Batch, *, training: bool) -> Batch:
        """Turn a batch of the loader into inputs and targets: augmented, normalised, boxes by image."""
        batch = {**batch, "image": match_channels(batch["image"], channels=self.preprocess.channels)}
        if training:
            for augment in self.augment_batch:
                batch = augment(batch, seed=self.seed, num_classes=self.num_classes)
        if self.grey:
            batch["grey"] = luma(batch["image"]).float() / 255
        image = self.preprocess.to_input(batch["image"])
        batch["image"] = image.contiguous(memory_format=torch.channels_last) if self.channels_last else image
        for key in ("mask", "instances"):
            if key in batch:
                batch[key] = batch[key].long()
        return split_boxes(batch)
