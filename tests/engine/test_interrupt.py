import json
import os
import signal
import subprocess
import sys

import pytest

from fovea.engine import rundir
from fovea.engine.distributed import LEADER
from fovea.engine.processes import stop_signals
from fovea.errors import Interrupted
from helpers import processes as commands
from helpers import runs

pytestmark = [pytest.mark.slow, pytest.mark.alone]
ENDLESS = [*runs.QUICK, "trainer.max_epochs=100000"]
TWO = [*(word for word in ENDLESS if word != "trainer=cpu"), *commands.TWO]


@pytest.mark.parametrize(
    ("signum", "code", "workers"), [("SIGINT", 130, 2), ("SIGTERM", 143, 0), ("SIGHUP", 129, 0)]
)
def test_a_signal_ends_a_run_in_an_orderly_way_and_it_can_go_on(signum, code, workers, tmp_path):
    run_dir = tmp_path / "run"
    process = commands.launch(*ENDLESS, f"data.num_workers={workers}", run_dir=run_dir)
    commands.wait_for_epoch(process, run_dir)
    started = commands.family(process)
    assert len(started) >= workers
    if signum == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does for Ctrl-C
    else:
        process.send_signal(signal.Signals[signum])
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == code, errors
    assert "Traceback" not in errors and "Error" not in errors
    assert signum in errors and f"python src/train.py run_dir={run_dir} resume=true" in errors
    assert commands.left(started) == []
    facts = json.loads((run_dir / "summary.json").read_text())
    assert (facts["status"], facts["error"]) == ("interrupted", f"stopped by {signum}")
    assert facts["metrics"]["val/acc"] > 0 and facts["best"]["epoch"] is not None
    assert (run_dir / "report.html").is_file()
    done = len(runs.rows(run_dir))
    assert runs.train(["resume=true", f"trainer.max_epochs={done + 1}"], run_dir=run_dir) == 0, runs.output(
        run_dir
    )
    assert [int(row["epoch"]) for row in runs.rows(run_dir)] == list(range(done + 1))
    assert rundir.read_summary(run_dir)["status"] == "finished"


def test_an_error_that_a_library_makes_of_a_signal_is_the_interruption():
    with pytest.raises(Interrupted), stop_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise RuntimeError("the loader was not ready")


def test_two_processes_end_together_on_a_signal_to_the_parent_alone(tmp_path):
    run_dir = tmp_path / "run"
    process = commands.launch(*TWO, run_dir=run_dir)
    commands.wait_for_epoch(process, run_dir)
    started = commands.family(process)
    assert started
    process.terminate()
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 143 and "Traceback" not in errors
    assert commands.left(started) == []
    assert rundir.read_summary(run_dir)["error"] == "stopped by SIGTERM"


def test_two_processes_end_together_on_ctrl_c(tmp_path):
    run_dir = tmp_path / "run"
    process = commands.launch(*TWO, run_dir=run_dir)
    commands.wait_for_epoch(process, run_dir)
    started = commands.family(process)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in errors
    assert commands.left(started) == []
    assert rundir.read_summary(run_dir)["error"] == "stopped by SIGINT"


def test_others_follow_a_parent_that_was_killed(tmp_path):
    run_dir = tmp_path / "run"
    process = commands.launch(*TWO, run_dir=run_dir)
    commands.wait_for_epoch(process, run_dir)
    started = commands.family(process)
    process.kill()
    process.wait()
    assert started and commands.left(started, seconds=10) == []
    process.communicate()
    found = rundir.read_summary(run_dir)
    assert (found["status"], found["error"]) == ("interrupted", "killed")


BROKEN = """
import os, sys
sys.path.insert(0, {src!r})
if os.environ.get("LOCAL_RANK") == "1":
    from fovea.tasks.classification.task import Classification
    step = Classification.training_step

    def broken(self, batch, batch_idx):
        if self.current_epoch == 1:
            {action}
        return step(self, batch, batch_idx)

    Classification.training_step = broken
from fovea.config.cli import command
command("train")
"""


def test_a_process_whose_leader_died_before_it_looked_ends():
    code = "from fovea.engine.processes import follow_parent; import time; follow_parent(); time.sleep(60)"
    leader = subprocess.Popen(["true"])
    leader.wait()
    found = os.environ | {"PYTHONPATH": str(runs.ROOT / "src"), LEADER: str(leader.pid)}
    assert subprocess.run([sys.executable, "-c", code], env=found, timeout=30).returncode == 1


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("raise ValueError('this rank is broken')", "in the process of rank 1: this rank is broken"),
        ("os.kill(os.getpid(), 9)", "the process of rank 1 was ended by SIGKILL"),
    ],
)
def test_one_failing_process_ends_all_and_its_error_is_told(action, message, tmp_path):
    run_dir, script = tmp_path / "run", tmp_path / "train.py"
    script.write_text(BROKEN.format(src=str(runs.ROOT / "src"), action=action))
    process = commands.launch(*TWO, run_dir=run_dir, script=script)
    commands.wait_for_epoch(process, run_dir)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1, errors
    assert f"error: {message}\n" in errors and "Traceback" not in errors
    found = rundir.read_summary(run_dir)
    assert (found["status"], found["error"]) == ("failed", message)
    assert (run_dir / "report.html").is_file() and not list(run_dir.glob(".error*"))
    if "broken" in message:
        assert "ValueError: this rank is broken" in (run_dir / "train.log").read_text()
