import csv
import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as L
import numpy as np
import psutil
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from fovea.callbacks.collector import Collector
from fovea.callbacks.record import EpochRecord
from fovea.callbacks.wandb import RunLogger, choose_mode
from fovea.tasks.classification.view import ClassView
from helpers import wandb_reader

ROOT = Path(__file__).parents[2]
KEY = "a" * 40
CLASSES = ["ant", "bee", "cat"]
LONG = "x" * 70_000  # over two blocks of the file
CONFIG = {"experiment": "tiny", "optimizer": {"lr": 0.1}, "sizes": [1, 2], "note": LONG}


class Listener:
    """An HTTP proxy that notes who calls and hangs up."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.calls = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def _serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                self.calls.append(connection.recv(200))


@pytest.fixture
def proxy():
    listener = Listener()
    yield listener
    listener.socket.close()


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path, proxy):
    """No credentials, an empty home, and every way to the network leads to `proxy`."""
    import wandb

    for name in [n for n in os.environ if n.startswith("WANDB_")] + ["NETRC", "NO_PROXY", "no_proxy"]:
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, proxy.url)
    for name in ("SILENT", "ERROR_REPORTING", "DATA_DIR"):  # so that what the logger sets is undone
        monkeypatch.setenv(f"WANDB_{name}", "")
        monkeypatch.delenv(f"WANDB_{name}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    wandb.teardown()
    yield
    wandb.teardown()


class Points(Dataset):
    ids = tuple(f"sample-{i:02d}" for i in range(24))

    def __len__(self):
        return len(self.ids)

    def name(self, i):
        return self.ids[i]

    def load(self, i):
        pixels = np.random.default_rng(i).integers(0, 256, (5, 4, 1), dtype=np.uint8)
        return {"image": pixels, "label": i % 3}

    def __getitem__(self, i):
        image = torch.from_numpy(self.load(i)["image"]).permute(2, 0, 1) / 255
        return {"image": image, "label": i % 3, "index": i}


class Data(L.LightningDataModule):
    test, classes = Points(), CLASSES
    preprocess = SimpleNamespace(to_array=lambda image: image)

    def labelling(self):
        return {}

    def train_dataloader(self):
        return DataLoader(self.test, batch_size=6)

    val_dataloader = test_dataloader = train_dataloader


class Tiny(L.LightningModule):
    def __init__(self, *, fail_at=None):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.fail_at = torch.nn.Linear(20, 3), fail_at
        self.meta = {"config": CONFIG, "classes": CLASSES}

    def _step(self, stage, batch):
        logits = self.net(batch["image"].flatten(1))
        loss = torch.nn.functional.cross_entropy(logits, batch["label"])
        accuracy = (logits.argmax(1) == batch["label"]).float().mean()
        self.log_dict({f"{stage}/loss": loss, f"{stage}/acc": accuracy}, on_step=False, on_epoch=True)
        return {"loss": loss, "preds": logits.detach(), "target": batch["label"]}

    def training_step(self, batch, batch_idx):
        if self.current_epoch == self.fail_at:
            raise RuntimeError("tired")
        return self._step("train", batch)

    def validation_step(self, batch, batch_idx):
        self._step("val", batch)

    def test_step(self, batch, batch_idx):
        return self._step("test", batch)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


def fit(run_dir, *, epochs=2, ckpt_path=None, task=None, logger=None, **options):
    run_dir.mkdir(exist_ok=True)
    logger = logger or RunLogger(run_dir=str(run_dir), name="tiny", tags=["t"], notes="n", group="g")
    record = EpochRecord(path=run_dir / "metrics.csv")
    collect = Collector(view=ClassView, dirpath=run_dir / "predictions")
    trainer = L.Trainer(
        logger=logger,
        callbacks=[collect, record, *logger.callbacks()],
        max_epochs=epochs,
        accelerator="cpu",
        log_every_n_steps=2,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=True,
        num_sanity_val_steps=0,
        default_root_dir=str(run_dir),
        **options,
    )
    task, data = task or Tiny(), Data()
    try:
        trainer.fit(task, datamodule=data, ckpt_path=ckpt_path, weights_only=False)
        trainer.test(task, datamodule=data, verbose=False)
    finally:
        logger.close()
    return trainer


def write_summary(run_dir, **facts):
    run_dir.mkdir(exist_ok=True)
    (run_dir / "summary.json").write_text(json.dumps(facts))


def runs(run_dir):
    import wandb

    wandb.teardown()  # as at the end of a process: the file is complete when it returns
    return wandb_reader.runs(run_dir / "wandb")


def only_run(run_dir):
    [run] = runs(run_dir)
    return run


@pytest.fixture
def run_dir(tmp_path):
    return tmp_path / "run"


def test_the_offline_file_holds_config_metrics_and_learning_rate(run_dir, proxy):
    fit(run_dir, epochs=3)
    run = only_run(run_dir)
    assert {k: v for k, v in run.config.items() if k != "_wandb"} == CONFIG
    assert (run.project, run.name, run.group, run.tags, run.notes) == ("fovea", "tiny", "g", ["t"], "n")
    with (run_dir / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    epochs = [row for row in run.history if "epoch_s" in row]
    for row, logged in zip(rows, epochs, strict=True):
        for key in set(row) - {"step", "lr"}:
            assert logged[key] == pytest.approx(float(row[key]), rel=1e-6), key
        assert logged["trainer/global_step"] == int(row["step"]) - 1
    lr = {
        row["_step"]: row["lr"] for row in run.history if "lr" in row
    }  # 4 steps an epoch, every second is logged
    assert lr == pytest.approx({0: 0.1, 2: 0.1, 4: 0.05, 6: 0.05, 8: 0.025, 10: 0.025})
    assert len(run.values("test/acc")) == 1
    assert proxy.calls == []


def test_confusion_matrix_and_mistakes_come_from_the_predictions(run_dir):
    fit(run_dir)
    run = only_run(run_dir)
    saved = np.load(run_dir / "predictions" / "test.npz")
    counts = run.table("test/confusion_matrix_table")
    assert counts["columns"] == ["Actual", "Predicted", "nPredictions"]
    preds = saved["probs"].argmax(1)
    for actual, predicted, count in counts["data"]:
        pair = (saved["target"] == CLASSES.index(actual)) & (preds == CLASSES.index(predicted))
        assert count == pair.sum()
    assert len(counts["data"]) == 9
    assert sum(row[2] for row in counts["data"]) == 24
    panel = run.config["_wandb"]["visualize"]["test/confusion_matrix"]["panel_config"]
    assert panel["panelDefId"] == "wandb/confusion_matrix/v1"

    wrong = np.load(run_dir / "predictions" / "examples.npz")
    table = run.table("test/mistakes")
    assert table["columns"] == ["image", "id", "true", "predicted", "probability"]
    assert [row[1] for row in table["data"]] == wrong["mistakes_ids"].tolist()
    assert [row[2:4] for row in table["data"]] == [
        [CLASSES[t], CLASSES[p]]
        for t, p in zip(wrong["mistakes_truth"], wrong["mistakes_answer"].argmax(1), strict=True)
    ]
    from PIL import Image

    gallery = run.values("test/mistakes_images")[-1]
    assert len(table["data"]) == len(gallery["filenames"]) > 0
    assert all((run.folder / "files" / name).is_file() for name in gallery["filenames"])
    for row, image in zip(table["data"], wrong["mistakes_image"][..., 0], strict=True):
        staged = run.staged(row[0]["path"])
        assert staged.is_relative_to(run_dir)
        assert np.array_equal(np.asarray(Image.open(staged)), image)


def test_the_summary_is_that_of_the_run_and_figures_are_images(run_dir):
    from PIL import Image

    (run_dir / "figures").mkdir(parents=True)
    Image.new("RGB", (9, 7), "red").save(run_dir / "figures" / "confusion_matrix.png")
    facts = {"best": {"value": 0.9, "epoch": 1}, "model": {"params": 63}, "git_commit": "abc", "error": None}
    write_summary(run_dir, status="finished", metrics={"val/acc": 0.9, "test/acc": 0.8}, **facts)
    fit(run_dir)
    run = only_run(run_dir)
    expected = {"status": "finished", "val/acc": 0.9, "test/acc": 0.8, "best/value": 0.9, "best/epoch": 1}
    expected |= {"model/params": 63, "git_commit": "abc", "error": None}
    assert {k: run.summary[k] for k in expected} == expected
    assert run.exit_code == 0
    image = run.summary["figures/confusion_matrix"]
    assert (image["width"], image["height"]) == (9, 7)
    assert image["path"] in run.files
    assert (run.folder / "files" / image["path"]).is_file()


def test_a_failed_run_says_so_and_keeps_its_epochs(run_dir):
    write_summary(run_dir, status="failed", error="tired", metrics={})
    with pytest.raises(RuntimeError, match="tired"):
        fit(run_dir, epochs=3, task=Tiny(fail_at=1))
    run = only_run(run_dir)
    assert run.exit_code == 1
    assert run.summary["status"] == "failed"
    assert run.summary["error"] == "tired"
    assert len(run.values("val/acc")) == 1


def test_resuming_keeps_id_and_directory_and_continues_the_steps(run_dir, tmp_path):
    first = fit(run_dir)
    first.save_checkpoint(tmp_path / "elsewhere.ckpt")
    fit(run_dir, epochs=4, ckpt_path=str(tmp_path / "elsewhere.ckpt"))
    before, after = sorted(runs(run_dir), key=lambda r: r.history[0]["_step"])
    assert before.id == after.id == (run_dir / "wandb" / "run_id").read_text()
    assert before.values("epoch_s") and after.values("epoch_s")
    assert max(r["_step"] for r in before.history) <= min(r["_step"] for r in after.history)
    assert [r["epoch"] for r in after.history if "epoch_s" in r] == [2, 3]
    fit(tmp_path / "other")
    assert only_run(tmp_path / "other").id != before.id


def test_the_service_of_an_offline_run_has_no_connection_and_reports_no_errors(run_dir):
    logger = RunLogger(run_dir=str(run_dir))
    logger.log_metrics({"a": 1.0}, step=0)
    [core] = [c for c in psutil.Process().children(recursive=True) if "wandb-core" in c.cmdline()[0]]
    assert "--no-observability" in core.cmdline()
    assert core.net_connections(kind="inet") == []
    logger.close()


def test_a_sweep_agent_chooses_the_id_of_a_new_run(run_dir, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "fromagent")
    logger = RunLogger(run_dir=str(run_dir))
    assert logger.experiment.id == "fromagent"
    logger.close()
    monkeypatch.setenv("WANDB_RUN_ID", "another")
    again = RunLogger(run_dir=str(run_dir))
    assert again.experiment.id == "fromagent"
    again.close()


@pytest.mark.parametrize(
    ("offline", "environment", "expected"),
    [
        (None, {}, "offline"),
        (False, {}, "offline"),
        (None, {"WANDB_MODE": "online"}, "offline"),
        (None, {"WANDB_API_KEY": KEY}, "online"),
        (None, {"WANDB_API_KEY": "short"}, "offline"),
        (True, {"WANDB_API_KEY": KEY}, "offline"),
        (None, {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "offline"),
        (None, {"WANDB_API_KEY": KEY, "WANDB_MODE": "disabled"}, "disabled"),
        (None, {"NETRC": "netrc"}, "online"),
    ],
)
def test_mode_follows_credentials_and_settings(offline, environment, expected, monkeypatch, tmp_path, proxy):
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert choose_mode(offline)[0] == expected
    assert proxy.calls == []


@pytest.mark.slow
def test_without_a_network_a_run_with_a_key_goes_on_offline(run_dir, monkeypatch, proxy, caplog, capfd):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    logger = RunLogger(run_dir=str(run_dir), init_timeout=2)
    trainer = fit(run_dir, logger=logger)
    assert trainer.current_epoch == 2
    assert proxy.calls  # it did try
    assert "recorded offline" in caplog.text
    assert "wandb" not in "".join(capfd.readouterr())
    run = next(r for r in runs(run_dir) if r.folder.name.startswith("offline"))
    assert len(run.values("epoch_s")) == 2
    assert run.id == (run_dir / "wandb" / "run_id").read_text()


def test_training_outlives_wandb(run_dir, caplog):
    import wandb

    class Kill(L.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 0:
                wandb.teardown()

    logger = RunLogger(run_dir=str(run_dir))
    logger.callbacks = lambda own=logger.callbacks: [Kill(), *own()]
    trainer = fit(run_dir, logger=logger, epochs=3)
    assert trainer.current_epoch == 3
    assert caplog.text.count("record metrics") == 1


def test_other_processes_and_dry_runs_start_nothing(run_dir, monkeypatch):
    fit(run_dir, fast_dev_run=True)
    assert not (run_dir / "wandb").exists()
    from lightning.fabric.utilities import rank_zero as fabric
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr(fabric.rank_zero_only, "rank", 1)
    logger = RunLogger(run_dir=str(run_dir))
    logger.experiment.log({"a": 1})
    logger.log_metrics({"a": 1}, step=1)
    logger.close()
    assert not (run_dir / "wandb").exists()


def test_the_reader_refuses_a_damaged_file(run_dir):
    logger = RunLogger(run_dir=str(run_dir))
    logger.log_hyperparams(CONFIG)
    logger.close()
    file = only_run(run_dir).folder / f"run-{logger.version}.wandb"
    data = bytearray(file.read_bytes())
    whole = len(list(wandb_reader.payloads(bytes(data))))
    assert len(list(wandb_reader.payloads(bytes(data[:-3])))) == whole - 1
    data[40_000] ^= 1
    with pytest.raises(AssertionError, match="damaged"):
        list(wandb_reader.payloads(bytes(data)))


def test_the_sweep_file_drives_the_training_command():
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    sweep = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "wandb_sweep.yaml"), resolve=False)
    assert (ROOT / sweep["program"]).is_file()
    values = {}
    for name, parameter in sweep["parameters"].items():
        values[name] = {"value": parameter["values"][0] if "values" in parameter else parameter["min"]}
    parts = create_sweep_command_args({"args": values})
    overrides = []
    for word in sweep["command"]:
        if word == "${args_no_hyphens}":
            overrides += parts["args_no_hyphens"]
        elif not word.startswith("${"):
            overrides.append(word)
    with initialize_config_dir(str(ROOT / "conf")):
        config = compose("train", overrides=overrides, return_hydra_config=True)
    for name, value in values.items():
        assert OmegaConf.select(config, name) == value["value"]
    assert config.logger.wandb._target_ == "fovea.callbacks.wandb.RunLogger"
    monitor = OmegaConf.select(config, "metrics.monitor")
    assert sweep["metric"]["name"] == monitor
    assert sweep["metric"]["goal"].startswith(config.metrics.mode)


def in_terminal(command, **env):
    """Run a command whose standard streams are a terminal at which nobody sits."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **env}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    return process.wait(), shown.decode()


@pytest.mark.slow
def test_the_command_records_offline_and_resumes_under_the_same_id(tmp_path, proxy):
    run_dir = tmp_path / "run"
    command = [sys.executable, "src/train.py", f"run_dir={run_dir}"]
    small = ["experiment=cnn_digits", "logger=wandb", "trainer.max_epochs=1", "trainer.limit_train_batches=3"]
    code, shown = in_terminal([*command, *small], OMP_NUM_THREADS="1")
    assert code == 0, shown
    first = only_run(run_dir)
    summary = json.loads((run_dir / "summary.json").read_text())
    assert first.exit_code == 0
    assert first.summary["status"] == "finished"
    assert first.summary["best/value"] == summary["best"]["value"]
    assert {k: first.summary[k] for k in summary["metrics"]} == summary["metrics"]
    assert first.config["model"]["name"] == "cnn"
    assert {"test/confusion_matrix_table", "test/mistakes", "figures/confusion_matrix"} <= set(first.summary)
    assert not re.search(
        r"(DEBUG|INFO|WARNING) wandb", (run_dir / "train.log").read_text()
    )  # wandb's own chatter

    command = [sys.executable, "src/train.py", f"run_dir={run_dir}", "resume=true", "trainer.max_epochs=2"]
    code, shown = in_terminal(command, OMP_NUM_THREADS="1")
    assert code == 0, shown
    second = next(r for r in runs(run_dir) if r.folder != first.folder)
    assert second.id == first.id
    assert [r["epoch"] for r in second.history if "epoch_s" in r] == [1]
    assert proxy.calls == []
