from functools import partial

import numpy as np
import pytest
import torch

from fovea.data.datasets.cifar10 import CIFAR10
from fovea.data.datasets.fashion_mnist import FashionMNIST
from fovea.data.datasets.folder import Folder
from fovea.data.loading import SampleBatches, TensorBatches
from fovea.ops.augment import Mixup, RandomShift
from helpers.real_formats import write_cifar10, write_fashion_mnist, write_folder
from helpers.record_batches import fit, same
from helpers.toy_data import Toy, ToyFiles, toy_module


def crops():
    import albumentations as A

    return {"crop": A.RandomResizedCrop(size=(12, 12), scale=(0.3, 1)), "color": A.ColorJitter(p=0.7)}


def test_every_epoch_reshuffles_under_the_trainer():
    seen = fit(toy_module(), epochs=3)["train"]
    assert [batch["epoch"] for batch in seen] == [0] * 4 + [1] * 4 + [2] * 4
    orders = [torch.cat([b["index"] for b in seen if b["epoch"] == e]).tolist() for e in range(3)]
    assert all(len(set(order)) == 32 for order in orders) and orders[0] != orders[1] != orders[2]


def test_batches_are_the_normalised_images_with_their_labels():
    module = toy_module()
    seen = fit(module, epochs=1)
    data = Toy()
    for stage, view in (("train", module.train), ("val", module.val), ("test", module.test)):
        for batch in seen[stage]:
            pixels = data.images[view.indices[batch["index"].numpy()]].transpose(0, 3, 1, 2) / 255.0
            shape = (1, 3, 1, 1)
            expected = (pixels - np.reshape([0.5, 0.4, 0.3], shape)) / np.reshape([0.2, 0.3, 0.4], shape)
            assert np.abs(batch["image"].numpy() - expected).max() < 1e-5
            assert batch["image"].dtype == torch.float32 and batch["image"].is_contiguous()
            assert np.array_equal(batch["label"], data.labels[view.indices[batch["index"].numpy()]])
        ids = [view.ids[i] for batch in seen[stage] for i in batch["index"]]
        assert len(set(ids)) == len(ids) and set(ids) <= set(data.ids)
    assert module.sizes() == {"train": 36, "val": 12, "test": 12}
    assert [len(b["index"]) for b in seen["test"]] == [8, 4]


@pytest.mark.parametrize("dataset", [Toy, ToyFiles])
@pytest.mark.parametrize("sample", [True, False])
def test_results_are_bit_identical_for_any_number_of_workers(dataset, sample):
    batch = {"shift": RandomShift(), "mixup": Mixup(alpha=1.0)}
    cache = "auto" if dataset is Toy else False

    def go(workers):
        augment = crops() if sample else {}
        return fit(
            toy_module(dataset, num_workers=workers, cache=cache, augment_sample=augment, augment_batch=batch)
        )

    reference = go(0)
    assert len(reference["train"]) == 8
    for workers in (1, 2):
        assert same(reference, go(workers))


@pytest.mark.parametrize("sample", [True, False])
def test_results_do_not_depend_on_the_cache(sample):
    def go(dataset, cache):
        return fit(toy_module(dataset, cache=cache, image_size=10, augment_sample=crops() if sample else {}))

    reference = go(ToyFiles, False)
    assert same(reference, go(ToyFiles, True)) and same(reference, go(Toy, "auto"))


def test_augmentation_differs_between_epochs_and_seeds_and_repeats_between_runs():
    def images(seed, epoch):
        augment = toy_module(seed=seed, augment_sample=crops()).augment_sample
        return augment({"image": Toy().images[0]}, epoch=epoch, index=0)["image"]

    assert np.array_equal(images(0, 0), images(0, 0))
    assert not np.array_equal(images(0, 0), images(0, 1))
    assert not np.array_equal(images(0, 0), images(1, 0))
    assert same(fit(toy_module(augment_sample=crops())), fit(toy_module(augment_sample=crops())))


def test_seed_zero_is_a_seed():
    first, second = (fit(toy_module(seed=seed), epochs=1) for seed in (0, 1))
    assert not same({"train": first["train"]}, {"train": second["train"]})
    assert same({"val": first["val"]}, {"val": second["val"]})  # the split follows split_seed alone


def test_only_training_batches_are_augmented():
    plain, augmented = fit(toy_module()), fit(toy_module(augment_batch={"mixup": Mixup(alpha=1.0)}))
    assert augmented["train"][0]["label"].shape == (8, 3)
    for stage in ("val", "test"):
        assert same({stage: plain[stage]}, {stage: augmented[stage]})


def test_overfitting_sees_the_same_batch_every_epoch():
    seen = fit(toy_module(), epochs=3, overfit_batches=1)["train"]
    assert len(seen) == 3 and all(torch.equal(seen[0]["index"], batch["index"]) for batch in seen)


def test_memory_serves_whatever_needs_no_work_per_image():
    module = toy_module(augment_sample=crops())
    module.setup()
    assert isinstance(module.train_dataloader().dataset, SampleBatches)
    assert isinstance(module.val_dataloader().dataset, TensorBatches)
    module = toy_module(ToyFiles, num_workers="auto")
    module.setup()
    loader = module.train_dataloader()
    assert isinstance(loader.dataset, TensorBatches) and loader.num_workers == 0
    module = toy_module(ToyFiles, num_workers="auto", cache=False)
    module.setup()
    loader = module.train_dataloader()
    assert isinstance(loader.dataset, SampleBatches) and loader.num_workers >= 1 and loader.persistent_workers


def test_channels_last_changes_the_memory_format_only():
    module = toy_module()
    module.setup()
    batch = next(iter(module.train_dataloader()))
    plain = module.finish_batch(batch, training=False)["image"]
    module.channels_last = True
    image = module.finish_batch(batch, training=False)["image"]
    assert image.is_contiguous(memory_format=torch.channels_last) and torch.equal(image, plain)


@pytest.mark.parametrize(("have", "want"), [(1, 3), (3, 1)])
def test_grey_and_colour_are_converted(have, want):
    module = toy_module(partial(Toy, channels=have), channels=want, mean=[0.0] * want, std=[1.0] * want)
    module.setup()
    batch = module.finish_batch(next(iter(module.val_dataloader())), training=False)
    pixels = Toy(channels=have).images[module.val.indices[batch["index"].numpy()]]
    expected = torch.cat([module.preprocess(image) for image in pixels])
    assert batch["image"].shape == (8, want, 12, 12) and torch.equal(batch["image"], expected)


def test_refusals_name_the_value_and_the_remedy():
    cases = [
        (
            {"batch_size": 40},
            "data.batch_size=40 is more than the 36 training images of toy: set data.batch_size=32",
        ),
        ({"num_classes": 4}, "data.num_classes=4 but toy has 3 classes: set data.num_classes=3"),
        ({"val_fraction": 1.0}, "data.val_fraction=1.0 must be 0 or more, and less than 1"),
        ({"dataset": partial(Toy, count=6)}, "class 'a' has 2 images, too few for 3 parts"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message.replace(".", r"\.")):
            toy_module(**options).setup()
    for options, message in (
        ({"mean": [0.5]}, r"data\.mean=\[0\.5\] must be 3 numbers"),
        ({"std": [0.5, 0.5, 0]}, r"data\.std"),
        ({"interpolation": "cubic"}, "'cubic' is unknown: choose one of"),
        ({"channels": 4}, r"data\.channels=4"),
        ({"crop_pct": 0}, r"data\.crop_pct=0"),
        ({"on_error": "ignore"}, r"data\.on_error='ignore'.*raise or skip"),
    ):
        with pytest.raises(ValueError, match=message):
            toy_module(**options)


def test_a_class_without_training_images_is_named():
    class Lopsided(Toy):
        splits = ("train", "val", "test")

        def __init__(self, *, split):
            super().__init__(split=split)
            if split == "train":
                self.labels = np.minimum(self.labels, 1)

    with pytest.raises(ValueError, match="class c"):
        toy_module(Lopsided).setup()


def test_num_classes_may_be_left_to_the_data():
    module = toy_module(num_classes=None)
    module.setup()
    assert module.num_classes == 3 and module.summary()["num_classes"] == 3


@pytest.mark.parametrize(
    ("dataset", "write", "sizes"),
    [
        (FashionMNIST, write_fashion_mnist, (48, 12 - 2, 20)),
        (CIFAR10, write_cifar10, (80, 20, 20)),
    ],
)
def test_official_test_splits_stay_whole(tmp_path, dataset, write, sizes):
    write(tmp_path)
    channels = 1 if dataset is FashionMNIST else 3
    module = toy_module(
        partial(dataset, root=tmp_path, download=False, subset=True),
        num_classes=10,
        channels=channels,
        mean=[0.5] * channels,
        std=[0.5] * channels,
    )
    module.setup()
    assert module.sizes()["test"] == sizes[2] and module.sizes()["train"] + module.sizes()["val"] in (60, 100)
    assert not set(module.train.ids) & set(module.val.ids) and len(module.test.indices) == sizes[2]
    assert module.summary()["source"] == "real" and module.summary()["num_test"] == 20


def test_folders_with_their_own_splits_are_used_as_they_are(tmp_path):
    for split, count in (("train", 6), ("val", 2)):
        write_folder(tmp_path / split, {"cat": count, "dog": count})
    module = toy_module(partial(Folder, root=tmp_path, channels=3), num_classes=2, batch_size=4)
    module.setup()
    assert module.sizes() == {"train": 10, "val": 4, "test": 2}  # only the test split was lacking
    assert all(name.startswith("val/") for name in module.val.ids)
    assert next(iter(module.train_dataloader()))["image"].shape == (4, 3, 12, 12)


def test_prepare_data_downloads_only_when_asked(tmp_path):
    calls = []

    class Remote(Toy):
        def __init__(self, *, split="all", root, download=False):
            assert not download  # only prepare_data downloads
            super().__init__(split=split)

        @classmethod
        def prepare(cls, **options):
            calls.append(options)

    for download in (False, True):
        module = toy_module(partial(Remote, root=tmp_path, download=download), download=download)
        module.prepare_data()
        module.setup()
    assert calls == [{"root": tmp_path, "download": True}]


def test_setup_reads_the_data_once():
    module = toy_module()
    module.setup("fit")
    views = module.splits
    module.setup("test")
    assert module.splits is views


def test_a_cache_that_does_not_fit_is_refused_before_it_fills_the_memory(monkeypatch):
    from fovea.data import cache

    monkeypatch.setattr(cache, "available_memory", lambda: 1000)
    module = toy_module(ToyFiles, cache=True, image_size=10)
    module.setup("fit")
    with pytest.raises(ValueError, match=r"data\.cache=true needs about .* GB.*data\.cache=auto"):
        module.train_dataloader()
    module = toy_module(ToyFiles, cache="auto", image_size=10)
    module.setup("fit")
    assert len(module.val_dataloader()) > 0
