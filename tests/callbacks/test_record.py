import csv
from types import SimpleNamespace

import pytest
import torch

from fovea import files
from fovea.callbacks import record as module
from fovea.callbacks.record import EpochRecord
from fovea.errors import UsageError


class Clock:
    """Stand in for the module `time`, at a time that the test sets."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now

    def time(self):
        return 5000.0 + self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def trainer(epoch=0, *, metrics=None, lr=(0.1,), world=1, rank=0):
    groups = [{"lr": value} for value in lr]
    return SimpleNamespace(
        current_epoch=epoch, global_step=10 * (epoch + 1), world_size=world, is_global_zero=rank == 0,
        callback_metrics={k: torch.tensor(v) for k, v in (metrics or {}).items()},
        optimizers=[SimpleNamespace(param_groups=groups)],
    )  # fmt: skip


def epoch(record, at, clock, *, batches=(64, 64, 32), train_s=4.0, val_s=1.0):
    """Go through the hooks of one epoch as the Trainer calls them."""
    record.on_train_epoch_start(at, None)
    for size in batches:
        record.on_train_batch_end(at, None, None, {"image": torch.zeros(size, 1)}, 0)
    clock.now += train_s
    record.on_validation_start(at, None)
    clock.now += val_s
    record.on_validation_end(at, None)
    record.on_train_epoch_end(at, None)


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_row_per_epoch_with_times_and_throughput(tmp_path, clock):
    calls = []
    record = EpochRecord(path=tmp_path / "metrics.csv", on_epoch=lambda: calls.append(len(record.rows)))
    record.on_train_start(trainer(), None)
    assert record.began == 5100.0 and not (tmp_path / "metrics.csv").exists()
    epoch(record, trainer(0, metrics={"val/acc": 0.5, "train/loss": 2.0, "train/loss_step": 9.0}), clock)
    epoch(
        record, trainer(1, metrics={"val/acc": 0.75, "train/loss": 1.0}, lr=(0.01, 0.05)), clock, train_s=2.0
    )
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == (
        "epoch,step,epoch_s,lr,train/loss,train_images_per_s,val/acc"
    )
    rows = [{k: float(v) for k, v in row.items()} for row in read(tmp_path / "metrics.csv")]
    assert rows == record.rows
    assert [r["epoch"] for r in rows] == [0, 1] and [r["step"] for r in rows] == [10, 20]
    assert [r["epoch_s"] for r in rows] == record.epoch_s == [5.0, 3.0]
    assert [r["train_images_per_s"] for r in rows] == [40.0, 80.0]  # 160 images, validation not counted
    assert [r["lr"] for r in rows] == [0.1, 0.05] and rows[1]["val/acc"] == 0.75
    assert calls == [1, 2] and record.train_images_per_s == 80.0


def test_the_throughput_is_a_median_and_counts_all_processes(tmp_path, clock):
    record = EpochRecord(path=tmp_path / "metrics.csv")
    assert record.train_images_per_s == 0.0
    for i, seconds in enumerate((100.0, 4.0, 2.0)):  # the first epoch warms up
        epoch(record, trainer(i, world=2), clock, train_s=seconds)
    assert record.train_images_per_s == 80.0


def test_a_metric_that_comes_later_leaves_earlier_cells_empty(tmp_path, clock):
    record = EpochRecord(path=tmp_path / "metrics.csv")
    epoch(record, trainer(0, metrics={"train/loss": 1.0}), clock)
    epoch(record, trainer(1, metrics={"train/loss": 1.0, "val/acc": 0.5}), clock)
    assert [r["val/acc"] for r in read(tmp_path / "metrics.csv")] == ["", "0.5"]


def test_numbers_survive_the_file_exactly(tmp_path, clock):
    record = EpochRecord(path=tmp_path / "metrics.csv")
    values = {"val/a": 1 / 3, "val/b": 1e-30, "val/c": float("nan"), "val/d": float("inf")}
    epoch(record, trainer(0, metrics=values, lr=(1e-7 / 3,)), clock)
    (row,) = read(tmp_path / "metrics.csv")
    for name, value in {**values, "lr": 1e-7 / 3}.items():
        wanted = float(torch.tensor(value)) if name != "lr" else value
        assert float(row[name]) == wanted or (wanted != wanted and row[name] == "nan")


def test_a_resumed_run_drops_what_a_killed_one_had_begun(tmp_path, clock):
    record = EpochRecord(path=tmp_path / "metrics.csv")
    epoch(record, trainer(0), clock)
    saved, first = record.state_dict(), dict(record.rows[0])
    epoch(record, trainer(1), clock)
    assert len(read(tmp_path / "metrics.csv")) == 2
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("2,30,2.5e-")  # cut off by a kill
    again = EpochRecord(path=tmp_path / "metrics.csv")
    again.setup(trainer(), None, "fit")
    again.load_state_dict(saved)
    assert again.rows == [first] and type(again.rows[0]["epoch"]) is int
    again.on_train_start(trainer(), None)
    assert [int(r["epoch"]) for r in read(tmp_path / "metrics.csv")] == [0]
    epoch(again, trainer(1), clock)
    assert [r["epoch"] for r in again.rows] == [0, 1]


@pytest.mark.parametrize("text", ["0,4\n", "epoch,step\n0,4\n", "epoch,step,epoch_s\n0\n", "epoch\n1e300\n"])
def test_a_record_without_what_every_row_has_is_refused(text, tmp_path):
    (tmp_path / "metrics.csv").write_text(f"{text}{text}")
    again = EpochRecord(path=tmp_path / "metrics.csv")
    again.setup(trainer(), None, "fit")
    with pytest.raises(UsageError, match=r"metrics\.csv is no record of a training"):
        again.load_state_dict({"rows": 1, "fit_s": 1.0})


def test_testing_an_earlier_checkpoint_takes_nothing_back(tmp_path, clock):
    record = EpochRecord(path=tmp_path / "metrics.csv")
    epoch(record, trainer(0), clock)
    epoch(record, trainer(1), clock)
    record.setup(trainer(), None, "test")
    record.load_state_dict({"rows": 1, "fit_s": 0.0})
    assert len(record.rows) == 2


def test_only_the_first_process_writes(tmp_path, clock):
    record = EpochRecord(path=tmp_path / "metrics.csv", on_epoch=lambda: pytest.fail("not here"))
    epoch(record, trainer(0, world=2, rank=1), clock)
    record.on_train_start(trainer(0, world=2, rank=1), None)
    assert len(record.rows) == 1 and list(tmp_path.iterdir()) == []


def test_an_epoch_costs_no_more_after_many(tmp_path, clock):
    record = EpochRecord(path=tmp_path / "metrics.csv")
    sizes, saved = [0], []
    for i in range(50):
        epoch(record, trainer(i, metrics={"val/acc": 0.5}), clock)
        sizes.append((tmp_path / "metrics.csv").stat().st_size)
        torch.save(record.state_dict(), tmp_path / "state")
        saved.append((tmp_path / "state").stat().st_size)
    inode = (tmp_path / "metrics.csv").stat().st_ino
    epoch(record, trainer(50, metrics={"val/acc": 0.5}), clock)
    assert (tmp_path / "metrics.csv").stat().st_ino == inode  # appended, not written anew
    assert saved[-1] < saved[0] + 64 and len(read(tmp_path / "metrics.csv")) == 51
    assert sizes[-1] - sizes[-2] <= sizes[2] - sizes[1] + 8


def test_the_time_is_all_that_a_user_waits_for(tmp_path, clock):
    record = EpochRecord(path=tmp_path / "metrics.csv")
    record.on_train_start(trainer(), None)
    epoch(record, trainer(0), clock)
    clock.now += 3.0  # a checkpoint is written
    epoch(record, trainer(1), clock)
    assert sum(record.epoch_s) == 10.0 and record.fit_s == 13.0
    record.on_train_end(trainer(), None)
    clock.now += 50.0  # the test
    assert record.fit_s == 13.0
    again = EpochRecord(path=tmp_path / "metrics.csv")
    again.setup(trainer(), None, "fit")
    again.load_state_dict(record.state_dict())
    again.on_train_start(trainer(), None)
    epoch(again, trainer(2), clock)
    assert again.fit_s == 18.0


def test_a_kill_while_writing_leaves_the_previous_rows(tmp_path, clock, monkeypatch):
    record = EpochRecord(path=tmp_path / "metrics.csv")
    epoch(record, trainer(0), clock)
    before = (tmp_path / "metrics.csv").read_bytes()

    def killed(*args):
        raise SystemExit

    monkeypatch.setattr(files.os, "replace", killed)
    with pytest.raises(SystemExit):
        epoch(record, trainer(1, metrics={"val/acc": 0.5}), clock)  # a new column: all is written anew
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_manual_optimization_without_optimizer_has_no_rate(tmp_path, clock):
    record = EpochRecord(path=tmp_path / "metrics.csv")
    at = trainer(0)
    at.optimizers = []
    epoch(record, at, clock)
    assert "lr" not in record.rows[0]


def test_rows_are_plain_so_that_a_checkpoint_stays_safe(tmp_path, clock):
    record = EpochRecord(path=tmp_path / "metrics.csv")
    epoch(record, trainer(0, metrics={"val/acc": 0.5}), clock)
    torch.save(record.state_dict(), tmp_path / "x.ckpt")
    assert torch.load(tmp_path / "x.ckpt", weights_only=True) == {"rows": 1, "fit_s": 0.0}
