import json
import logging
import math
import re
import sys

import numpy as np
import pytest
import torch

from fovea import errors
from fovea.engine import distributed, rundir
from fovea.engine.train import run
from fovea.errors import UsageError
from fovea.tasks.classification.task import Classification
from helpers import runs


@pytest.fixture(autouse=True)
def logging_as_before(monkeypatch):
    monkeypatch.delenv("FOVEA_TRACEBACK", raising=False)
    for name in (distributed.VARIABLE, distributed.LEADER):
        monkeypatch.setenv(name, "")  # a run sets it; put it back afterwards
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def fail(tmp_path, capsys, monkeypatch):
    """Train with overrides that must fail; return the message, the same everywhere."""
    from fovea.runs import report as page

    monkeypatch.setattr(page, "write_report", lambda *args, **kwargs: None)

    def train(*overrides):
        given = [*runs.QUICK, *overrides, f"run_dir={tmp_path / 'run'}"]
        with pytest.raises(Exception) as error:
            run(runs.compose(given), given=given)
        message = errors.explain(error.value, config=runs.compose(given))
        if (tmp_path / "run" / "metrics.csv").is_file():
            facts = rundir.read_summary(tmp_path / "run")
            assert facts["status"] == "failed" and facts["error"] == message
            assert "Traceback" in (tmp_path / "run" / "train.log").read_text()
        else:  # nothing was trained: the directory is free for the next try
            assert not (tmp_path / "run").exists()
        terminal = capsys.readouterr().err
        assert f"error: {message}\n" in terminal and "Traceback" not in terminal
        return message

    return train


def test_a_failing_constructor_shows_the_root_cause_and_the_config_key(fail):
    message = fail("task.label_smoothing=2")
    assert re.fullmatch(r"task\.label_smoothing .*2\b.*\[0, 1\).*\n.*config key: task\)", message)


def test_a_failing_nested_constructor_names_the_nested_key(fail):
    message = fail("metrics.values.acc.average=best", "metrics.values.acc.validate_args=true")
    assert message.endswith("config key: metrics.values.acc)")
    assert "average" in message and "InstantiationException" not in message and "Error in call" not in message


def test_an_argument_that_a_constructor_does_not_have(fail):
    message = fail("+model.net.widht=3")
    assert "'widht'" in message and message.startswith("model.net ") and "__init__" not in message


def test_a_batch_larger_than_the_data(fail):
    message = fail("data.batch_size=5000")
    assert re.match(r"data\.batch_size=5000 .*3500 .*digits.*data\.batch_size=2048", message)


def test_one_image_at_a_time_is_too_few_for_a_batch_norm(fail):
    net = ("model=timm", "model.name=test_resnet", "model.pretrained=false")
    message = fail(*net, "data.batch_size=1")
    assert "batch norm" in message and "data.batch_size" in message and "torch.Size" not in message


def test_a_class_without_an_image(fail, tmp_path):
    import cv2

    root = tmp_path / "images"
    for split, classes in {"train": "ab", "val": "abc", "test": "abc"}.items():
        for name in "abc":
            (root / split / name).mkdir(parents=True)
            for i in range(4 if name in classes else 0):
                cv2.imwrite(str(root / split / name / f"{i}.png"), np.zeros((8, 8, 3), np.uint8))
    message = fail(
        "data=folder", f"data.root={root}", "data.image_size=8", "data.batch_size=4", "data.num_classes=3"
    )
    assert message.startswith("class 'c'") and str(root / "train" / "c") in message


def test_nan_loss_stops_with_the_step_and_keeps_the_last_good_checkpoint(fail, monkeypatch, tmp_path):
    step = Classification.step

    def broken(self, batch):
        output = step(self, batch)
        if self.training and self.global_step == 6:
            output["loss"] = output["loss"] * math.nan
        return output

    monkeypatch.setattr(Classification, "step", broken)
    message = fail("trainer.max_epochs=3")  # of 4 steps each
    assert "step 6" in message
    for remedy in ("optimizer.lr", "trainer.gradient_clip_val=1.0", "trainer.precision=32-true"):
        assert remedy in message
    for name in ("last", "best"):
        kept = runs.checkpoint(tmp_path / "run", name)
        assert kept["epoch"] == 0 and kept["global_step"] == 4
        assert all(bool(torch.isfinite(t).all()) for t in kept["state_dict"].values())
    facts = rundir.read_summary(tmp_path / "run")
    assert facts["best"]["epoch"] == 0 and facts["metrics"]["val/acc"] == facts["best"]["value"]
    assert len(runs.rows(tmp_path / "run")) == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried ..."
        ),
        MemoryError("Unable to allocate 1.00 TiB for an array"),
    ],
)
def test_out_of_memory_says_which_override_to_try(fail, monkeypatch, error):
    monkeypatch.setattr(Classification, "step", lambda self, batch: (_ for _ in ()).throw(error))
    message = fail("trainer.max_epochs=1")
    assert re.match(r"out of memory.* data\.batch_size=16 .*trainer\.accumulate_grad_batches=2", message)


def test_a_failing_report_does_not_hide_the_error(tmp_path, monkeypatch, capsys):
    from fovea.runs import report as page

    def broken(self, batch):
        raise ValueError("the original error")

    def report(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(page, "write_report", report)
    monkeypatch.setattr(Classification, "test_step", lambda self, batch, batch_idx: broken(self, batch))
    given = [*runs.QUICK, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(ValueError, match="the original error"):
        run(runs.compose(given), given=given)
    assert rundir.read_summary(tmp_path / "run")["error"] == "the original error"
    assert "no space left" in capsys.readouterr().err


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run a command that must be refused before its code begins; return exit code and message."""
    from fovea.config import cli
    from fovea.engine import train

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "main", lambda config: pytest.fail("it started"))

    def call(*overrides):
        monkeypatch.setattr(sys, "argv", ["src/train.py", *overrides])
        with pytest.raises(SystemExit) as stop:
            cli.command("train")
        assert list(tmp_path.iterdir()) == []
        return stop.value.code, capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lrr=1", "'optimizer.lrr'.*nearest: optimizer.lr"),
        ("data.batchsize=3", "'data.batchsize'.*nearest: data.batch_size"),
        ("trainer.max_epoch=3", "'trainer.max_epoch'.*nearest: trainer.max_epochs"),
        ("batch_size=3", "'batch_size'.*nearest: data.batch_size"),
        ("lr=3", "'lr'.*nearest: optimizer.lr"),
        ("model=vitt", "model=vitt .*nearest: vit, vit_tiny_16, maxvit_tiny\n  model can be: "),
        ("optimizer=addam", "optimizer=addam .*nearest: adam, adamw"),
        ("experiment=mlp_digit", "experiment=mlp_digit .*nearest: mlp_digits"),
    ],
)
def test_unknown_keys_and_groups_name_the_nearest(command, override, message):
    code, text = command(override)
    assert code == 2
    assert re.match(f"error: .*{message}", text) and "Traceback" not in text and text.count("error:") == 1


def test_root_cause_goes_through_wrappers_only():
    inner = ValueError("inner")
    outer = RuntimeError("outer")
    outer.__cause__ = inner
    assert errors.root_cause(outer) is outer  # not a wrapper: its own words count


def test_messages_of_common_kinds():
    assert errors.explain(UsageError("say so")) == "say so"
    assert errors.explain(KeyError("x")) == "KeyError: 'x'"
    assert errors.explain(AssertionError()) == "AssertionError: AssertionError"


def test_a_job_of_a_sweep_keeps_what_it_has_to_say(tmp_path, monkeypatch):
    monkeypatch.setenv(errors.FILE, str(tmp_path / "error.txt"))  # as a job of a sweep
    given = [*runs.QUICK, "task.label_smoothing=2", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(ValueError, match="label_smoothing"):
        run(runs.compose(given), given=given)
    assert rundir.read_summary(tmp_path / "run")["status"] == "failed"
    assert "Traceback" in (tmp_path / "run" / "train.log").read_text()
    json.loads((tmp_path / "run" / "summary.json").read_text(), parse_constant=pytest.fail)


def test_libraries_that_find_no_room_are_no_fault_of_the_installation():
    error = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    assert re.search("memory.*raise the limit", errors.explain(error))
