"""The process of a job: how it ends, what it leaves, what reaches it."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from fovea import errors
from fovea.engine import distributed
from fovea.sweep import job_process


def call(code, tmp_path, output=None):
    with (tmp_path / "lock").open("w") as keep:
        command = [sys.executable, "-S", "-c", code]
        return job_process.call(command, output=output, error_file=tmp_path / "error.txt", keep=keep)


@pytest.mark.alone
def test_a_killed_process_is_explained(tmp_path):
    end = call("import os; os.kill(os.getpid(), 9)", tmp_path)
    assert end.code == -9 and "memory" in end.error and "data.batch_size" in end.error
    assert "SIGSEGV" in call("import os; os.kill(os.getpid(), 11)", tmp_path).error


def test_the_message_that_a_command_ends_with_comes_back(tmp_path):
    code = f"import os; open(os.environ['{errors.FILE}'], 'w').write('no such key'); raise SystemExit(2)"
    end = call(code, tmp_path)
    assert (end.code, end.stopped, end.error) == (2, None, "no such key")
    assert not (tmp_path / "error.txt").exists()


def test_output_goes_to_its_file(tmp_path, capfd):
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    assert call(code, tmp_path, tmp_path / "output.log").code == 0
    assert (tmp_path / "output.log").read_text() == "out\nerr\n"
    assert capfd.readouterr() == ("", "")


@pytest.mark.alone
def test_what_a_failed_process_leaves_running_is_ended(tmp_path):
    pid = tmp_path / "pid"
    code = (
        "import os, time\nn = os.fork() or time.sleep(60)\n"
        f"with open({str(pid)!r}, 'w') as f: f.write(str(n))\nos._exit(1)"
    )
    call(code, tmp_path)
    for _ in range(100):
        state = Path(f"/proc/{pid.read_text()}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.02)
    else:
        pytest.fail("the child still runs")


@pytest.mark.alone
def test_a_signal_reaches_the_process_once_and_is_returned(tmp_path):
    """The process ends in its own way, after the sweep was told to stop."""
    code = (
        "import os, signal, time; n = []\n"
        "signal.signal(2, lambda *_: n.append(1))\n"
        f"open({str(tmp_path / 'up')!r}, 'w').close(); end = time.time() + 0.4\n"
        "while time.time() < end: time.sleep(0.01)\n"
        "os._exit(len(n))"
    )

    def stop():
        while not (tmp_path / "up").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop).start()
    end = call(code, tmp_path)
    assert (end.code, end.stopped) == (1, signal.SIGINT)


def test_a_job_inherits_nothing_of_a_distributed_parent(monkeypatch):
    for name in ("LOCAL_RANK", "MASTER_PORT", "SLURM_NTASKS", "SLURM_PROCID", "FOVEA_RUN_DIR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    env = distributed.clean_environment()
    assert env["SLURM_JOB_ID"] == "7" and "PATH" in env
    assert not {"LOCAL_RANK", "MASTER_PORT", "SLURM_NTASKS", "SLURM_PROCID", "FOVEA_RUN_DIR"} & set(env)
