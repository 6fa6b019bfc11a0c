import random
from functools import partial
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image
from torch import nn

from fovea.callbacks.ema import EMA
from fovea.callbacks.wandb import RunLogger
from fovea.data.module import DataModule
from fovea.explain.callback import Explain, preserve_state
from fovea.explain.methods.grad_cam import GradCAM
from fovea.explain.methods.rollout import Rollout
from fovea.explain.methods.saliency import Saliency
from fovea.explain.view.figure import write_sheet
from fovea.tasks.classification.task import Classification
from helpers import wandb_reader


class Toy:
    classes = ("ant", "bee", "cat")

    def __init__(self, split):
        self.split, count = split, {"train": 24, "val": 9, "test": 3}[split]
        self.ids = [f"{split}/{i}.png" for i in range(count)]
        self.labels = np.arange(count) % 3
        self.classes = list(self.classes)

    def __len__(self):
        return len(self.ids)

    def load(self, index):
        pixels = np.random.default_rng(index).integers(0, 200, (12, 12, 1), dtype=np.uint8)
        return {"image": pixels + 18 * self.labels[index].astype(np.uint8), "label": int(self.labels[index])}

    splits = ("train", "val", "test")


class Net(nn.Module):
    """Dropout and BatchNorm would show any disturbance."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3)
        )
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))


def data():
    preprocessing = {
        "image_size": [12, 12], "channels": 1, "mean": [0.5], "std": [0.5], "interpolation": "bilinear",
        "crop_pct": 1.0,
    }  # fmt: skip
    return DataModule(
        dataset=partial(Toy), name="toy", num_classes=3, preprocessing=preprocessing, batch_size=8,
        num_workers=0, val_fraction=0.2, test_fraction=0.1,
    )  # fmt: skip


def noisy(net, image, target=None):
    """A method that draws from every generator."""
    random.random(), np.random.rand(), torch.rand(3)
    return torch.rand(len(image), 12, 12)


def explain(folder, **options):
    return Explain(run_dir=str(folder), **options)


def fit(folder, *callbacks, net=None, epochs=2, seed=0, logger=False, **options):
    torch.manual_seed(seed), random.seed(seed), np.random.seed(seed)
    net = net or Net()
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    task = Classification(net=net, optimizer=optimizer)
    trainer = L.Trainer(
        accelerator="cpu", devices=1, logger=logger, max_epochs=epochs, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=str(folder),
        callbacks=list(callbacks), use_distributed_sampler=False, **{"num_sanity_val_steps": 0, **options},
    )  # fmt: skip
    trainer.fit(task, datamodule=data())
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
    state = {k: v.clone() for k, v in net.state_dict().items()}
    drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))
    return metrics, state, drawn, trainer


def same(one, two):
    assert one[0] == two[0] and one[2] == two[2]
    assert all(torch.equal(one[1][k], two[1][k]) for k in two[1])


METHODS = {"grad_cam": GradCAM(layer="conv.2"), "saliency": Saliency(), "noisy": noisy}


@pytest.mark.parametrize("precision", ["32-true", pytest.param("bf16-mixed", marks=pytest.mark.slow)])
def test_the_training_does_not_notice(tmp_path, precision):
    plain = fit(tmp_path / "plain", precision=precision)
    watched = fit(tmp_path / "run", explain(tmp_path / "run", methods=METHODS), precision=precision)
    same(plain, watched)
    sheets = sorted((tmp_path / "run" / "explain").iterdir())
    assert [p.name for p in sheets] == ["epoch_0000.png", "epoch_0001.png"]


def test_methods_work_where_nothing_else_has_gradients(tmp_path, caplog):
    callback, net = explain(tmp_path, methods=METHODS), Net()
    *_, trainer = fit(tmp_path, net=net, epochs=1)
    trainer.state.fn = TrainerFn.FITTING
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        callback.on_validation_epoch_end(trainer, trainer.lightning_module)
    assert "training continues" not in caplog.text
    assert len(list((tmp_path / "explain").iterdir())) == 1


@pytest.mark.parametrize("order", [(0, 1), pytest.param((1, 0), marks=pytest.mark.slow)])
def test_the_average_is_explained_where_one_is_kept(tmp_path, order, monkeypatch):
    seen = []

    def draw(folder, **facts):
        seen.append(facts["predicted"][0].probability)
        return write_sheet(folder, **facts)

    monkeypatch.setattr("fovea.explain.callback.write_sheet", draw)
    watcher, ema = explain(tmp_path), EMA(decay=0.9)
    *_, trainer = fit(tmp_path, *[(watcher, ema)[i] for i in order])
    batch = watcher._batch["image"]  # after the training the net holds the average
    net = trainer.lightning_module.net.eval()
    assert seen[-1] == pytest.approx(net(batch).softmax(1)[0].max().item(), abs=1e-6)
    same(fit(tmp_path / "plain", EMA(decay=0.9)), fit(tmp_path / "two", explain(tmp_path), EMA(decay=0.9)))


def test_the_images_are_the_same_every_time_and_can_be_chosen(tmp_path, monkeypatch):
    drawn = []

    def draw(folder, *, ids, truth, **facts):
        drawn.append((ids, truth, facts["pictures"]))
        return write_sheet(folder, ids=ids, truth=truth, **facts)

    monkeypatch.setattr("fovea.explain.callback.write_sheet", draw)
    fit(tmp_path, explain(tmp_path, number=3, every_n_epochs=2), epochs=4)
    (ids, truth, pictures), again = drawn
    assert (ids, truth) == again[:2] and (pictures == again[2]).all()
    assert ids == ["val/0.png", "val/3.png", "val/6.png"] and truth == ["ant"] * 3
    assert (pictures[1] == Toy("val").load(3)["image"]).all()  # the normalisation is undone
    drawn.clear()
    fit(tmp_path, explain(tmp_path, ids=["val/7.png"]), epochs=1)
    assert drawn[0][0] == ["val/7.png"] and drawn[0][1] == ["bee"]


def test_what_cannot_explain_the_net_is_said_once_and_the_training_goes_on(tmp_path, caplog):
    fit(tmp_path, explain(tmp_path, methods={"rollout": Rollout(), "saliency": Saliency()}), epochs=3)
    assert caplog.text.count("has no attention: use a CAM or a gradient method; training continues") == 1
    assert len(list((tmp_path / "explain").iterdir())) == 3
    caplog.clear()
    fit(tmp_path, explain(tmp_path / "b", ids=["no.png"]), epochs=3)
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert sum("'no.png'" in text for text in warned) == 1


def test_other_processes_do_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(L.Trainer, "is_global_zero", False)
    fit(tmp_path, explain(tmp_path), epochs=1)
    assert not (tmp_path / "explain").exists()


def test_bad_options_and_split_nets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="number=0"):
        explain(tmp_path, number=0)
    trainer = type("Trainer", (), {"strategy": type("FSDPStrategy", (), {})()})()
    with pytest.raises(ValueError, match="FSDPStrategy splits the net"):
        explain(tmp_path).setup(trainer, None, "fit")


def test_modes_and_generators_are_restored_after_an_error():
    net = Net().train()
    net.conv[1].eval()
    before = [m.training for m in net.modules()], torch.get_rng_state(), random.getstate()
    with pytest.raises(RuntimeError, match="stop"), torch.inference_mode(), preserve_state(net):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled() and not net.training
        noisy(net, torch.zeros(1))
        raise RuntimeError("stop")
    assert [m.training for m in net.modules()] == before[0]
    assert torch.equal(torch.get_rng_state(), before[1]) and random.getstate() == before[2]


@pytest.mark.slow
def test_a_compiled_net_is_explained_as_it_was_written(tmp_path, caplog):
    one, two = Net(), Net()
    for net in (one, two):
        net.compile(backend="eager")
    plain = fit(tmp_path, net=one)
    same(plain, fit(tmp_path, explain(tmp_path, methods=METHODS), net=two))
    assert "training continues" not in caplog.text
    assert (tmp_path / "explain" / "epoch_0001.png").is_file()


@pytest.mark.slow
def test_the_sheets_reach_an_offline_wandb_run(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    logger = RunLogger(run_dir=str(run_dir), name="toy", offline=True)
    fit(run_dir, explain(run_dir), logger=logger)
    logger.close()
    wandb.teardown()
    (run,) = wandb_reader.runs(run_dir / "wandb")
    logged = run.values("explain")
    assert [entry["caption"] for entry in logged] == ["epoch_0000", "epoch_0001"]
    for entry, name in zip(logged, ("epoch_0000.png", "epoch_0001.png"), strict=True):
        with (
            Image.open(run.folder / "files" / entry["path"]) as kept,
            Image.open(Path(run_dir) / "explain" / name) as sheet,
        ):
            assert (np.asarray(kept.convert("RGB")) == np.asarray(sheet)).all()
