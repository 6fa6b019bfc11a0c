"""The best checkpoint is that of the best validation, wherever in an epoch it lies."""

import tempfile

import pytest
import torch

from fovea.callbacks.checkpoint import BestAndLast
from helpers.toys import Scripted, loader, trainer

FIT = {"enable_checkpointing": True, "num_sanity_val_steps": 0}


@pytest.mark.parametrize(
    ("values", "interval", "best", "epoch"),
    [
        ([0.1, 0.9, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 1, 2, 0),  # four batches an epoch
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.9, 0.6, 0.7], 1, 6, 1),
        ([0.1, 0.2, 0.3, 0.9, 0.5, 0.9, 0.6, 0.7], 1, 4, 0),
        ([0.1, 0.2, 0.3, 0.9], 2, 8, 1),
        ([0.3, 0.2], 3, 3, 0),  # the last batch of an epoch follows its only validation
        ([0.1, 0.2], 3, 7, 1),
    ],
)
def test_best_is_the_best_validation_also_within_an_epoch(tmp_path, values, interval, best, epoch):
    keep = BestAndLast(dirpath=str(tmp_path), monitor="val/acc")
    run = trainer(tmp_path, keep, max_epochs=2, val_check_interval=interval, **FIT)
    run.fit(Scripted(values), loader(), loader())
    saved = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert (saved["global_step"], saved["epoch"]) == (best, epoch)
    assert keep.best["step"] == best and keep.best["value"] == pytest.approx(max(values))
    assert keep.best["metrics"]["val/acc"] == pytest.approx(max(values))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 8


def test_a_checkpoint_needs_no_room_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    keep = BestAndLast(dirpath=str(tmp_path), monitor="val/acc")
    trainer(tmp_path, keep, max_epochs=1, **FIT).fit(Scripted([0.5]), loader(), loader())
    assert (tmp_path / "best.ckpt").read_bytes() == (tmp_path / "last.ckpt").read_bytes()


@pytest.mark.parametrize("lost", ["optimizer_states", "tie"])
def test_a_last_checkpoint_that_does_not_go_on_leaves_the_best_as_it_was(lost, tmp_path):
    keep = BestAndLast(dirpath=str(tmp_path), monitor="val/acc")
    trainer(tmp_path, keep, max_epochs=1, **FIT).fit(Scripted([0.5]), loader(), loader())
    whole, last = (tmp_path / "best.ckpt").read_bytes(), tmp_path / "last.ckpt"
    state = torch.load(last, weights_only=True)
    place = state if lost in state else state["callbacks"]["BestAndLast"]["best"]
    del place[lost]
    torch.save(state, last)
    again = BestAndLast(dirpath=str(tmp_path), monitor="val/acc")
    run = trainer(tmp_path, again, max_epochs=2, **FIT)
    with pytest.raises((KeyError, ValueError)):
        run.fit(Scripted([0.6]), loader(), loader(), ckpt_path=last)
    assert (tmp_path / "best.ckpt").read_bytes() == whole
