import logging
from functools import partial

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.tuner import batch_size_scaling
from torch import nn

from fovea.callbacks.finders import BatchSize, LRFinder
from fovea.callbacks.seeding import EpochSeeding, seed_all
from fovea.data.loading import TensorBatches
from fovea.data.module import DataModule
from fovea.optim.finetune import Finetune
from fovea.optim.schedules import cosine, plateau
from fovea.tasks.classification.task import Classification

CLASSES = 3


@pytest.fixture(autouse=True)
def without_garbage_collection(monkeypatch):
    """Save the half second that each trial spends on it."""
    monkeypatch.setattr(batch_size_scaling, "garbage_collection_cuda", lambda: None)


class Blobs:
    """Hold images of three brightnesses in memory."""

    splits = ("train", "val", "test")
    classes = ("dark", "medium", "bright")

    def __init__(self, *, split):
        size = {"train": 300, "val": 30, "test": 30}[split]
        self.labels = np.arange(size) % CLASSES
        noise = np.random.default_rng(len(split)).integers(0, 60, (size, 6, 6, 1))
        self.images = (noise + 90 * self.labels[:, None, None, None]).astype(np.uint8)
        self.ids = [f"{split}/{i}" for i in range(size)]

    def __len__(self):
        return len(self.labels)

    def load(self, index):
        return {"image": self.images[index], "label": int(self.labels[index])}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2)
        )
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(self.body(x))


class Probe(L.Callback):
    """Note what training starts with, every learning rate, and keep checkpoints."""

    def __init__(self, folder, keep=None):
        self.folder, self.keep = folder, keep
        self.rates, self.sizes = [], []

    def on_train_start(self, trainer, pl_module):
        self.weights = {k: v.clone() for k, v in pl_module.state_dict().items()}
        (optimizer,) = trainer.optimizers
        self.moments = len(optimizer.state)
        self.groups = {group["name"]: group["lr"] for group in optimizer.param_groups}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])
        self.sizes.append(len(batch["image"]))

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.keep:
            trainer.save_checkpoint(self.folder / "kept.ckpt")


def task(*, lr=1e-3, scheduler=None, finetune=None):
    seed_all(0)
    optimizer = partial(torch.optim.AdamW, lr=lr, weight_decay=0.05)
    return Classification(net=Net(), optimizer=optimizer, scheduler=scheduler, finetune=finetune)


def datamodule(batch_size=20):
    return DataModule(
        dataset=Blobs, name="blobs", num_classes=CLASSES, batch_size=batch_size, num_workers=0,
        preprocessing={"image_size": [6, 6], "channels": 1, "mean": [0.5], "std": [0.3],
                       "interpolation": "bilinear", "crop_pct": 1.0},
    )  # fmt: skip


def fit(tmp_path, module, *callbacks, data=None, epochs=2, keep=None, ckpt_path=None, accumulate=1):
    probe = Probe(tmp_path, keep)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        num_sanity_val_steps=0, accumulate_grad_batches=accumulate,
        callbacks=[EpochSeeding(seed=0), *callbacks, probe], default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, datamodule=data or datamodule(), ckpt_path=ckpt_path, weights_only=True)
    return trainer, probe


def finder():
    return LRFinder(min_lr=1e-5, max_lr=1.0, num_training_steps=30)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


COSINE = partial(cosine, warmup_epochs=0.2)


@pytest.mark.parametrize("scheduler", [None, COSINE, plateau], ids=["none", "cosine", "plateau"])
def test_training_goes_on_as_if_the_suggestion_had_been_given(tmp_path, scheduler):
    plan = Finetune(backbone_lr_scale=0.1, head=["head"])
    module = task(scheduler=scheduler, finetune=plan)
    _, found = fit(tmp_path, module, finder())
    assert module.lr != 1e-3
    by_hand = task(lr=module.lr, scheduler=scheduler, finetune=plan)
    _, given = fit(tmp_path, by_hand)
    assert found.rates == given.rates and len(found.rates) == 30
    assert same(module.state_dict(), by_hand.state_dict())


def test_groups_keep_their_relative_rates(tmp_path):
    module = task(scheduler=cosine, finetune=Finetune(backbone_lr_scale=0.1, head=["head"]))
    trainer, probe = fit(tmp_path, module, finder())
    rates = probe.groups
    head = [rate for name, rate in rates.items() if name.startswith("head")]
    backbone = [rate for name, rate in rates.items() if name.startswith("backbone")]
    assert head and backbone
    assert head == pytest.approx([module.lr] * len(head))
    assert backbone == pytest.approx([0.1 * module.lr] * len(backbone))
    (config,) = trainer.lr_scheduler_configs
    assert sorted(set(config.scheduler.base_lrs)) == pytest.approx([0.1 * module.lr, module.lr])


def test_weights_and_optimizer_are_those_from_before_the_search(tmp_path):
    module = task()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    _, probe = fit(tmp_path, module, finder(), epochs=1)
    assert same(before, probe.weights) and probe.moments == 0
    assert not same(before, module.state_dict())  # it has trained since
    assert [p.name for p in tmp_path.iterdir()] == []  # the search tidies up


def test_a_resumed_run_keeps_the_rate_and_does_not_search(tmp_path, caplog):
    whole = task(scheduler=COSINE)
    _, uninterrupted = fit(tmp_path, whole, finder(), epochs=3, keep=0)
    assert (tmp_path / "kept.ckpt").is_file()
    caplog.clear()
    rest = task(scheduler=COSINE)
    with caplog.at_level(logging.INFO, logger="fovea"):
        _, resumed = fit(tmp_path, rest, finder(), epochs=3, ckpt_path=tmp_path / "kept.ckpt")
    assert "suggests" not in caplog.text
    assert resumed.rates == uninterrupted.rates[15:]
    assert same(whole.state_dict(), rest.state_dict())
    assert rest.lr == whole.lr


def test_without_a_suggestion_the_rate_stays(tmp_path, caplog):
    search = LRFinder(min_lr=1e-5, max_lr=1.0, num_training_steps=4)  # too few for a slope
    module = task()
    with caplog.at_level(logging.INFO, logger="fovea"):
        _, probe = fit(tmp_path, module, search, epochs=1)
    assert module.lr == 1e-3 and set(probe.groups.values()) == {1e-3}
    assert "optimizer.lr=0.001 stays" in caplog.text


@pytest.mark.parametrize("accumulate", [1, 4])
def test_accumulated_batches_change_neither_the_losses_nor_the_order_of_the_rate(tmp_path, accumulate):
    search, module = LRFinder(min_lr=1e-6, max_lr=1.0, num_training_steps=60), task()
    fit(tmp_path, module, search, epochs=1, accumulate=accumulate)
    curve = search.found["optimizer.lr"]["curve"]
    assert np.mean(curve["loss"][:8]) == pytest.approx(np.log(CLASSES), rel=0.3)
    assert 1e-3 < module.lr < 1.0


def test_the_largest_batch_that_was_tried_and_fits(tmp_path, caplog):
    data, module = datamodule(), task(scheduler=COSINE)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    search = BatchSize(init_val=20, max_val=100)
    with caplog.at_level(logging.INFO, logger="fovea"):
        _, probe = fit(tmp_path, module, search, data=data)
    assert data.batch_size == 80 and "data.batch_size=80" in caplog.text
    assert set(probe.sizes) == {80} and same(before, probe.weights)
    assert isinstance(data._batches["train"], TensorBatches)  # all images from memory
    by_hand = task(scheduler=COSINE)
    _, given = fit(tmp_path, by_hand, data=datamodule(80))
    assert probe.rates == given.rates and probe.rates[-1][0] < 0.4 * max(probe.rates)[0]
    assert same(module.state_dict(), by_hand.state_dict())


@pytest.mark.parametrize(("limit", "found"), [(64, 40), (100, 80), (160, 160), (19, 10)])
def test_a_size_for_which_memory_does_not_suffice_is_never_chosen(tmp_path, limit, found):
    class Small(Net):
        def forward(self, x):
            if len(x) > limit and self.training:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            return super().forward(x)

    module, data = task(), datamodule()
    module.net = Small()
    _, probe = fit(tmp_path, module, BatchSize(init_val=20, max_val=160), data=data)
    assert data.batch_size == found and set(probe.sizes) == {found}


def test_a_batch_is_never_larger_than_the_data(tmp_path):
    data = datamodule()
    _, probe = fit(tmp_path, task(), BatchSize(init_val=50, max_val=1024), data=data)
    assert data.batch_size == 200 and set(probe.sizes) == {200}


def test_a_resumed_run_keeps_the_size_and_does_not_search(tmp_path, caplog):
    whole = task(scheduler=COSINE)
    _, uninterrupted = fit(tmp_path, whole, BatchSize(init_val=20, max_val=64), epochs=3, keep=0)
    caplog.clear()
    rest, data = task(scheduler=COSINE), datamodule()
    with caplog.at_level(logging.INFO, logger="fovea"):
        _, resumed = fit(
            tmp_path,
            rest,
            BatchSize(init_val=20, max_val=64),
            data=data,
            epochs=3,
            ckpt_path=tmp_path / "kept.ckpt",
        )
    assert "suggests" not in caplog.text and data.batch_size == 40
    assert set(resumed.sizes) == {40} and resumed.rates == uninterrupted.rates[7:]
    assert same(whole.state_dict(), rest.state_dict())


def test_a_test_searches_nothing(tmp_path, caplog):
    module, data = task(), datamodule()
    trainer, _ = fit(tmp_path, module, BatchSize(init_val=20, max_val=64), data=data, epochs=1)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        trainer.test(module, datamodule=data, verbose=False)
    assert data.batch_size == 40 and "batch size" not in caplog.text.lower()


def test_both_searches_together(tmp_path):
    module, data = task(scheduler=COSINE), datamodule()
    _, probe = fit(tmp_path, module, BatchSize(init_val=20, max_val=64), finder(), data=data)
    by_hand = task(lr=module.lr, scheduler=COSINE)
    _, given = fit(tmp_path, by_hand, data=datamodule(40))
    assert probe.rates == given.rates and same(module.state_dict(), by_hand.state_dict())
