"""Whole sweeps, as a user starts them: failures, kills, Ctrl-C, Optuna, launchers, distributed jobs."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

SCRIPT = Path(__file__).resolve().parents[2] / "src" / "train.py"
LIMITS = [f"trainer.limit_{s}_batches=2" for s in ("train", "val", "test")]
TINY = ["experiment=mlp_digits", "trainer=cpu", "trainer.max_epochs=1", *LIMITS, "sweep_dir=s"]
LONG = ["trainer.max_epochs=4000", "trainer.limit_train_batches=20"]


def start(cwd, *words):
    env = {k: v for k, v in os.environ.items() if not k.startswith("FOVEA_")} | {"OMP_NUM_THREADS": "1"}
    with (cwd / "terminal").open("w") as terminal:
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *words], cwd=cwd, env=env, stdout=terminal, stderr=terminal,
            start_new_session=True,
        )  # fmt: skip


def sweep(cwd, *words, timeout=240):
    """Run a command to its end; return its exit code and what the terminal showed."""
    process = start(cwd, *words)
    try:
        code = process.wait(timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return code, (cwd / "terminal").read_text()


def until(found, process, timeout=120):
    """Wait for something that a running sweep brings about."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        if found():
            return
        time.sleep(0.05)
    pytest.fail(f"never came about; exit code {process.poll()}")


def summary(run_dir):
    file = run_dir / "summary.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def trains(run_dir):
    """Whether a job has an epoch behind it and a checkpoint to go on from."""
    epochs = (summary(run_dir).get("timing") or {}).get("epoch_s")
    return bool(epochs) and (run_dir / "checkpoints" / "last.ckpt").is_file()


def table(cwd):
    with (cwd / "s" / "sweep.csv").open(newline="") as file:
        return {r["job"]: r for r in csv.DictReader(file)}


def gone(pid):
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.alone
def test_a_killed_job_fails_alone_and_only_it_is_repeated(tmp_path):
    words = ["-m", *TINY, "seed=0,1", """paths.data="it's [a, b]=c" """.strip(), "data.mean=[0.1]"]
    process = start(tmp_path, *words)
    until(lambda: "process" in summary(tmp_path / "s/0"), process)
    os.kill(summary(tmp_path / "s/0")["process"]["pid"], signal.SIGKILL)
    assert process.wait(120) == 1
    rows = table(tmp_path)
    assert [rows[j]["status"] for j in "01"] == ["failed", "finished"]
    assert "SIGKILL" in rows["0"]["error"] and "memory" in rows["0"]["error"]
    assert "repeat" in (tmp_path / "terminal").read_text()
    config = OmegaConf.load(tmp_path / "s/1/config.yaml")
    assert config.paths.data == "it's [a, b]=c" and config.data.mean == [0.1]

    kept = (tmp_path / "s/1/summary.json").stat().st_mtime_ns
    code, shown = sweep(tmp_path, *words)
    assert code == 0 and [table(tmp_path)[j]["status"] for j in "01"] == ["finished", "finished"]
    assert (tmp_path / "s/1/summary.json").stat().st_mtime_ns == kept
    assert "job 1 is finished" in shown
    assert (tmp_path / "s/comparison/compare.html").stat().st_size > 1000
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["0", "1", "comparison", "sweep.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s", "terminal"]


@pytest.mark.slow
@pytest.mark.alone
def test_ctrl_c_ends_job_and_sweep_in_order_and_the_shown_command_goes_on(tmp_path):
    process = start(tmp_path, "-m", *TINY, *LONG, "seed=0,1")
    until(lambda: trains(tmp_path / "s/0"), process)
    job = summary(tmp_path / "s/0")["process"]["pid"]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(60) == 130
    assert gone(job) and summary(tmp_path / "s/0")["status"] == "interrupted"
    assert not (tmp_path / "s/1").exists() and table(tmp_path)["0"]["status"] == "interrupted"
    shown = (tmp_path / "terminal").read_text()
    assert "continue it with" in shown and "Traceback" not in shown
    epochs = len(summary(tmp_path / "s/0")["timing"]["epoch_s"])

    OmegaConf.save(  # so that the rest is short
        OmegaConf.merge(
            OmegaConf.load(tmp_path / "s/0/config.yaml"), {"trainer": {"max_epochs": epochs + 1}}
        ),
        tmp_path / "s/0/config.yaml",
    )
    code, shown = sweep(tmp_path, "-m", *TINY, *LONG, "seed=0")
    assert code == 0 and "job 0 resumes" in shown
    rows = list(csv.DictReader((tmp_path / "s/0/metrics.csv").open()))
    assert [int(float(r["epoch"])) for r in rows] == list(range(epochs + 1))


@pytest.mark.slow
@pytest.mark.alone
def test_a_study_killed_in_a_trial_ends_with_all_its_trials(tmp_path):
    words = ["sweep=optuna", *TINY, "hydra.sweeper.n_trials=3"]
    process = start(tmp_path, *words)
    until(lambda: "process" in summary(tmp_path / "s/1"), process)
    job = summary(tmp_path / "s/1")["process"]["pid"]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    cut = OmegaConf.load(tmp_path / "s/1/overrides.yaml")
    end = time.monotonic() + 30
    while not gone(job) and time.monotonic() < end:
        time.sleep(0.1)
    assert gone(job)  # it does not outlive its sweep

    code, shown = sweep(tmp_path, *words)
    assert code == 0, shown
    stored = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/s/study.db")
    done = [t for t in stored.trials if t.state == TrialState.COMPLETE]
    assert len(done) == 3 and len({tuple(sorted(t.params.items())) for t in done}) == 3
    assert stored.direction.name == "MAXIMIZE"
    rows = table(tmp_path)
    assert sorted(rows) == ["0", "1", "2"] and {r["status"] for r in rows.values()} == {"finished"}
    assert OmegaConf.load(tmp_path / "s/1/overrides.yaml") == cut
    assert sorted(float(r["value"]) for r in rows.values()) == pytest.approx(sorted(t.value for t in done))


@pytest.mark.slow
def test_jobs_at_the_same_time_have_a_directory_and_an_output_each(tmp_path):
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    code, shown = sweep(tmp_path, "-m", *TINY, *launcher, "seed=0,1", "optimizer.lr=0.01,-1")
    rows = table(tmp_path)
    assert code == 1 and sorted(rows) == ["0", "1", "2", "3"], shown
    found = {r["overrides"].split()[-1] + r["overrides"].split()[-2]: r["status"] for r in rows.values()}
    assert found == {
        "optimizer.lr=0.01seed=0": "finished", "optimizer.lr=-1seed=0": "failed",
        "optimizer.lr=0.01seed=1": "finished", "optimizer.lr=-1seed=1": "failed",
    }  # fmt: skip
    assert "run directory" not in shown and "epoch 0" not in shown
    for job, row in rows.items():
        output = (tmp_path / "s" / job / "output.log").read_text()
        assert ("run directory" in output) == (row["status"] == "finished")
        assert row["status"] == "finished" or "optimizer.lr is -1" in row["error"]


@pytest.mark.slow
@pytest.mark.alone
def test_ctrl_c_ends_jobs_at_the_same_time_in_order(tmp_path):
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = start(tmp_path, "-m", *TINY, *LONG, *launcher, "seed=0,1,2")
    until(lambda: trains(tmp_path / "s/0") and trains(tmp_path / "s/1"), process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    rows = table(tmp_path)
    assert {j: (r["status"], r["error"]) for j, r in rows.items()} == {
        "0": ("interrupted", "stopped by SIGINT"), "1": ("interrupted", "stopped by SIGINT"),
    }  # fmt: skip


@pytest.mark.slow
def test_submitit_runs_jobs_in_processes_of_its_own(tmp_path):
    code, shown = sweep(tmp_path, "-m", *TINY, "hydra/launcher=submitit_local", "optimizer.lr=0.01,-1")
    rows = table(tmp_path)
    assert code == 1 and [rows[j]["status"] for j in "01"] == ["finished", "failed"], shown
    assert "optimizer.lr is -1" in rows["1"]["error"]
    assert any((tmp_path / "s/.submitit").iterdir())


@pytest.mark.slow
def test_distributed_jobs_in_a_row_with_one_failing_have_a_directory_each(tmp_path):
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    words = [w for w in TINY if w != "trainer=cpu"]
    code, shown = sweep(tmp_path, "-m", *words, *ddp, "optimizer.lr=0.01,1e30,0.02")
    rows = table(tmp_path)
    assert code == 1, shown
    assert [rows[j]["status"] for j in "012"] == ["finished", "failed", "finished"]
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["0", "1", "2", "comparison", "sweep.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s", "terminal"]
    for job in "02":
        facts = summary(tmp_path / "s" / job)
        assert facts["environment"]["processes"] == 2 and "test/acc" in facts["metrics"]


@pytest.mark.slow
def test_an_unknown_member_is_all_that_is_said(tmp_path):
    code, shown = sweep(tmp_path, "-m", *TINY, "model=nope,cnn")
    assert code == 2 and "model=nope" in shown and "sweep directory" not in shown, shown
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_swept_experiment_that_picks_the_sweeper_is_refused(tmp_path):
    """Hydra chooses sweeper and launcher before it composes swept experiments."""
    (tmp_path / "more/experiment").mkdir(parents=True)
    (tmp_path / "more/experiment/greedy.yaml").write_text(
        "# @package _global_\ndefaults: [{override /hydra/launcher: joblib}]\n"
    )
    more = ["--config-dir", "more", *TINY]
    code, shown = sweep(tmp_path, "-m", *more, "experiment=mlp_digits,greedy")
    assert code == 2 and "hydra/launcher" in shown, shown
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_configs_from_elsewhere_reach_the_jobs(tmp_path):
    (tmp_path / "more/experiment").mkdir(parents=True)
    (tmp_path / "more/experiment/mine.yaml").write_text("# @package _global_\noptimizer: {lr: -7}\n")
    more = ["--config-dir", "more", *TINY]
    code, shown = sweep(tmp_path, "-m", *more, "experiment=mine", "seed=0,1")
    assert code == 1 and {r["error"][:18] for r in table(tmp_path).values()} == {"optimizer.lr is -7"}, shown


@pytest.mark.slow
def test_a_study_of_failures_ends_with_its_table(tmp_path):
    code, shown = sweep(tmp_path, "sweep=optuna", *TINY, "optimizer.lr=-1", "hydra.sweeper.n_trials=2")
    assert code == 1 and [r["status"] for r in table(tmp_path).values()] == ["failed", "failed"]
    assert shown.rstrip().endswith("sweep_dir=s") and "Record" not in shown


@pytest.mark.slow
def test_a_sweep_that_cannot_start_leaves_nothing(tmp_path):
    code, shown = sweep(tmp_path, "-m", *TINY, "optimizer.learning_rate=1,2")
    assert code == 2 and "optimizer.lr" in shown and "Traceback" not in shown
    code, shown = sweep(tmp_path, "-m", *TINY, "run_dir=x", "seed=1,2")
    assert code == 2 and "sweep_dir" in shown
    assert not (tmp_path / "s").exists()
