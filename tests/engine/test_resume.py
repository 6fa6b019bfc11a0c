import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fovea.engine import resume, rundir
from fovea.errors import UsageError
from fovea.files import DRAFT
from helpers import runs

slow = pytest.mark.slow
EMA = ["+callbacks.ema._target_=fovea.callbacks.ema.EMA", "+callbacks.ema.decay=0.9"]
CNN = ["model=cnn", "model.net.widths=[4,8]", "model.net.stage_depth=1"]
VARIANTS = {
    "plain": [],
    "ema": EMA,
    "gradual": ["finetune=gradual", *CNN],
    "one_cycle": ["scheduler=one_cycle", "optimizer=momentum"],
    "mixup": ["augment=mixup"],
    "early_stopping": ["callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optimizer.lr=0.1"],
    "plateau": ["scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=0.5"],
    "dropout": ["model.net.dropout=0.5"],
    "augment": ["augment=standard", "data.image_size=20"],
    "every_second": ["trainer.check_val_every_n_epoch=2"],
    "within_epochs": ["+trainer.val_check_interval=1", "optimizer.lr=0.02", *EMA],
    "max_steps": ["trainer.max_steps=18", "trainer.check_val_every_n_epoch=2", "scheduler=plateau"],
    "lr_finder": ["callbacks=lr_finder"],
    "batch_size_finder": ["callbacks=batch_size_finder", "scheduler=one_cycle"],
    "accumulate": ["trainer.accumulate_grad_batches=3", *CNN, *EMA],
}
KILLS = {  # by number of workers: in the middle of epochs, between them, while writing, in the test stage
    0: [("between", 0), ("batch", 1), ("writing", 2), ("validation", 3), ("test", 0)],
    2: [("batch", 0), ("batch", 2), ("batch", 4), ("test", 0)],
}
ALL_KILLS = ("plain", "ema", "within_epochs")  # the others get two of them in turn


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Train each variant once without a kill, with no worker processes."""
    base = tmp_path_factory.mktemp("whole")

    def get(name):
        if not (base / name).exists():
            code = runs.train([*runs.QUICK, "trainer.max_epochs=5", *VARIANTS[name]], run_dir=base / name)
            assert code == 0, runs.output(base / name)
        return base / name

    return get


def same(whole, resumed):
    for name in ("last", "best"):
        a, b = runs.checkpoint(whole, name), runs.checkpoint(resumed, name)
        for part in (
            "state_dict",
            "optimizer_states",
            "lr_schedulers",
            "current_model_state",
            "fovea_plateau",
        ):
            assert runs.difference(a.get(part), b.get(part), part) is None
        assert (a["epoch"], a["global_step"]) == (b["epoch"], b["global_step"])
    assert runs.rows(whole) == runs.rows(resumed)
    a, b = rundir.read_summary(whole), rundir.read_summary(resumed)
    assert b["status"] == "finished"
    for part in ("metrics", "best", "data", "model", "measured", "found"):
        assert json.dumps(a.get(part)) == json.dumps(b.get(part))  # in the same order, too


@slow
@pytest.mark.parametrize(
    ("name", "workers"), [*((name, 0) for name in VARIANTS), ("plain", 2), ("mixup", 2), ("augment", 2)]
)
def test_killed_in_any_epoch_and_resumed_is_bit_identical(name, workers, whole, tmp_path):
    run_dir = tmp_path / "run"
    expected = whole(name)
    last = len(runs.rows(expected)) - 1
    command = [*runs.QUICK, "trainer.max_epochs=5", *VARIANTS[name], f"data.num_workers={workers}"]
    kills = KILLS[workers]
    if name not in ALL_KILLS:
        turn = list(VARIANTS).index(name)
        kills = [kills[turn % 2], kills[2 + turn % (len(kills) - 2)]]
    early = [("batch", 0)] if "finder" in name else []  # before there is a checkpoint with what was found
    for kill in early + kills:
        if kill[1] <= last:
            code = runs.train(command, run_dir=run_dir, kill=kill)
            assert code == -signal.SIGKILL, (kill, code, runs.output(run_dir))
            assert rundir.read_summary(run_dir)["status"] == "interrupted"
            command = ["resume=true"]
    assert runs.train(command, run_dir=run_dir) == 0, runs.output(run_dir)
    same(expected, run_dir)


@slow
def test_early_stopping_run_did_stop_early(whole):
    assert len(runs.rows(whole("early_stopping"))) < 5


@slow
def test_killed_between_the_last_and_the_best_checkpoint(whole, tmp_path):
    run_dir = tmp_path / "run"
    best = rundir.read_summary(whole("plain"))["best"]["epoch"]
    command = [*runs.QUICK, "trainer.max_epochs=5"]
    assert runs.train(command, run_dir=run_dir, kill=("copying", best)) == -signal.SIGKILL
    if (run_dir / "checkpoints" / "best.ckpt").is_file():
        assert runs.checkpoint(run_dir, "best")["epoch"] < best
    assert runs.train(["resume=true"], run_dir=run_dir) == 0, runs.output(run_dir)
    same(whole("plain"), run_dir)


@slow
def test_resuming_leaves_no_partial_checkpoint(tmp_path):
    run_dir = tmp_path / "run"
    command = [*runs.QUICK, "trainer.max_epochs=2"]
    assert runs.train(command, run_dir=run_dir, kill=("writing", 1)) == -signal.SIGKILL
    assert any(DRAFT.fullmatch(p.name) for p in (run_dir / "checkpoints").iterdir())
    (run_dir / f".{16 * 'a'}.part").write_text("half a summary")
    assert runs.train(["resume=true"], run_dir=run_dir) == 0
    assert not any(DRAFT.fullmatch(p.name) for p in run_dir.rglob("*"))
    assert sorted(p.name for p in (run_dir / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


@slow
def test_larger_max_epochs_continues_a_finished_run(tmp_path):
    short, long = tmp_path / "short", tmp_path / "long"
    command = [*runs.QUICK, "scheduler=none"]
    assert runs.train([*command, "trainer.max_epochs=2"], run_dir=short) == 0
    assert runs.train([*command, "trainer.max_epochs=4"], run_dir=long) == 0
    assert runs.train(["resume=true", "trainer.max_epochs=4"], run_dir=short) == 0, runs.output(short)
    same(long, short)


@slow
def test_a_continued_run_follows_the_schedule_of_its_new_length(tmp_path):
    short, long = tmp_path / "short", tmp_path / "long"
    assert runs.train([*runs.QUICK, "trainer.max_epochs=2"], run_dir=short) == 0
    assert runs.train([*runs.QUICK, "trainer.max_epochs=4"], run_dir=long) == 0
    assert runs.train(["resume=true", "trainer.max_epochs=4"], run_dir=short) == 0, runs.output(short)
    assert [row["lr"] for row in runs.rows(short)[2:]] == [row["lr"] for row in runs.rows(long)[2:]]


@slow
def test_a_finished_run_resumed_is_measured_again_and_not_trained(whole, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(whole("early_stopping"), run_dir)
    assert runs.train(["resume=true"], run_dir=run_dir) == 0, runs.output(run_dir)
    same(whole("early_stopping"), run_dir)


@slow
def test_seed_zero_counts_and_repeats(whole, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    command = [*runs.QUICK, "trainer.max_epochs=5"]
    assert runs.train([*command, "seed=0"], run_dir=again) == 0
    assert runs.train([*command, "seed=1"], run_dir=other) == 0
    same(whole("plain"), again)
    assert runs.rows(other) != runs.rows(again)


@slow
def test_wandb_keeps_the_id_of_the_run(tmp_path):
    run_dir = tmp_path / "run"
    command = [*runs.QUICK, "trainer.max_epochs=2", "logger=wandb", "logger.wandb.offline=true"]
    assert runs.train(command, run_dir=run_dir, kill=("batch", 1)) == -signal.SIGKILL
    run_id = (run_dir / "wandb" / "run_id").read_text()
    assert runs.train(["resume=true"], run_dir=run_dir) == 0, runs.output(run_dir)
    assert (run_dir / "wandb" / "run_id").read_text() == run_id
    assert all(p.name.endswith(run_id) for p in (run_dir / "wandb").glob("offline-run-*"))


@slow
@pytest.mark.alone
def test_real_command_killed_from_outside_and_repeated(whole, tmp_path):
    run_dir = tmp_path / "run"
    base = [sys.executable, str(runs.ROOT / "src" / "train.py"), f"run_dir={run_dir}", "resume=auto"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # slow enough to be hit in the middle, and the same training
    command = [*base, *runs.QUICK, "trainer.max_epochs=5", "data.num_workers=2"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, cwd=tmp_path)
    end = time.monotonic() + 120
    while not (run_dir / "metrics.csv").is_file() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    same(whole("plain"), run_dir)
    assert (run_dir / "report.html").is_file()
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "finished"


def test_refusals(tmp_path):
    config = runs.compose([*runs.QUICK, f"run_dir={tmp_path / 'none'}", "resume=true"])
    with pytest.raises(UsageError, match="resume needs run_dir=DIR"):
        resume.start(config, ["resume=true"])
    given = ["resume=true", f"run_dir={tmp_path / 'none'}"]
    with pytest.raises(UsageError, match=r"none .*config\.yaml"):
        resume.start(config, given)
    run_dir = Path(config.run_dir)
    run_dir.mkdir()
    rundir.write_config(run_dir, config)
    with pytest.raises(UsageError, match=r"unknown key 'optimizer\.lrr'.*nearest: optimizer\.lr\b"):
        resume.start(config, [*given, "optimizer.lrr=1"])
    with pytest.raises(UsageError, match="model= cannot change"):
        resume.start(config, [*given, "model=vit"])


def test_a_whole_command_may_be_repeated_but_not_changed(tmp_path):
    words = ["model=cnn", "callbacks=lr_finder", "optimizer.lr=0.001", "trainer.precision=auto", "seed=3"]
    command = [*runs.QUICK, *words, f"run_dir={tmp_path}", "resume=auto"]
    config = runs.compose(command)
    config.optimizer.lr, config.trainer.precision = 0.0015, "bf16-mixed"
    rundir.write_config(tmp_path, config)
    facts = {"command": shlex.join(["python", "src/train.py", *command])}
    rundir.write_summary(tmp_path, facts | {"found": {"optimizer.lr": {"given": 0.001, "used": 0.0015}}})
    begin = resume.start(runs.compose(command), command)
    assert begin.claimed and (begin.config.seed, begin.config.trainer.precision) == (3, "bf16-mixed")
    assert begin.config.optimizer.lr == 0.001  # no checkpoint yet: it is searched again
    for changed in ("model=mlp", "callbacks=none", "trainer=auto"):
        with pytest.raises(UsageError, match=f"{changed.split('=')[0]}= cannot change"):
            resume.start(runs.compose(command), [*command, changed])


def test_auto_starts_anew_where_there_is_nothing_to_resume(tmp_path):
    config = runs.compose([*runs.QUICK, f"run_dir={tmp_path / 'none'}", "resume=auto"])
    assert resume.start(config, ["resume=auto", f"run_dir={tmp_path / 'none'}"]) == resume.Start(config)


def test_values_of_the_command_line_go_on_top_of_the_saved_config(tmp_path):
    name = "name='quick trainer.max_epochs=2'"
    config = runs.compose([*runs.QUICK, "seed=5", name, f"run_dir={tmp_path / 'run'}"])
    run_dir = tmp_path / "moved"
    run_dir.mkdir()
    rundir.write_config(run_dir, config)
    asked = runs.compose([f"run_dir={run_dir}", "resume=true"])
    begin = resume.start(asked, [f"run_dir={run_dir}", "resume=true", "trainer.max_epochs=7"])
    assert begin.claimed and begin.ckpt_path is None
    assert (begin.config.seed, begin.config.trainer.max_epochs) == (5, 7)
    assert begin.config.name == "quick trainer.max_epochs=7"
    assert begin.config.checkpoint.dirpath == str(run_dir / "checkpoints")
