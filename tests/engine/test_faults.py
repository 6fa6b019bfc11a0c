"""What goes wrong around a run is said in one sentence, and leaves nothing in the way of the next try."""

import errno
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fovea import errors, files
from fovea.config.validate import number_of_cores, validate
from fovea.engine import resume, rundir
from fovea.engine.log import configure
from fovea.errors import UsageError
from helpers import runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train two epochs once."""
    run_dir = tmp_path_factory.mktemp("faults") / "run"
    assert runs.train([*runs.QUICK, "trainer.max_epochs=2"], run_dir=run_dir) == 0, runs.output(run_dir)
    return run_dir


@pytest.fixture
def run_dir(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(run_dir, *given):
    """Return why a resume is refused, which leaves the run as it was."""
    before = content(run_dir)
    words = ["resume=true", *given, f"run_dir={run_dir}"]
    with pytest.raises(UsageError) as error:
        resume.start(runs.compose([*runs.QUICK, *words]), words)
    assert content(run_dir) == before
    return str(error.value)


@pytest.mark.parametrize("key", ["data.num_workers", "trainer.devices"])
def test_more_processes_than_cores_are_refused_with_their_number(key):
    with pytest.raises(UsageError, match=rf"{key}=9999.*\b{number_of_cores()} CPU cores.*{key}=auto"):
        validate(runs.compose([*runs.QUICK, f"{key}=9999"]))


def test_a_run_is_held_by_one_process_and_free_when_that_is_killed(tmp_path):
    rundir.write_summary(tmp_path, {"status": "running", "process": {"pid": 4321}})
    code = "import sys, pathlib, time\nfrom fovea.engine import rundir\n"
    code += "with rundir.hold(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(runs.ROOT / "src")}
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=r"is running \(pid 4321\)"), rundir.hold(tmp_path):
            pass
        other.kill()
        other.wait()
    with rundir.hold(tmp_path):
        pid = os.fork()
        if pid == 0:  # a worker that outlives the run does not hold it
            os._exit(1 if rundir._held else 0)
        assert os.waitpid(pid, 0)[1] == 0
    with rundir.hold(tmp_path):
        pass


@pytest.mark.slow
def test_a_shorter_length_is_refused_and_one_that_fails_early_leaves_the_run_as_it_was(run_dir):
    assert (
        "trainer.max_epochs=1" in (said := refused(run_dir, "trainer.max_epochs=1")) and "2 or more" in said
    )
    before = {name: (run_dir / name).read_bytes() for name in ("config.yaml", "summary.json", "metrics.csv")}
    assert runs.train(["resume=true", "data.batch_size=5000"], run_dir=run_dir) != 0
    assert "as it was" in runs.output(run_dir) and "data.batch_size" in runs.output(run_dir)
    assert {name: (run_dir / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_the_first_command_survives_a_resume(run_dir):
    facts = json.loads((run_dir / "summary.json").read_text())
    rundir.write_summary(run_dir, {**facts, "command": "python src/train.py first"})
    (run_dir / ".error_of_rank_1").write_text("of a process that outlived its leader")
    assert runs.train(["resume=true", "trainer.max_epochs=3"], run_dir=run_dir) == 0, runs.output(run_dir)
    after = rundir.read_summary(run_dir)
    assert after["command"] == "python src/train.py first" and len(after["resumed"]) == 1
    assert not (run_dir / ".error_of_rank_1").exists()


@pytest.mark.slow
def test_damaged_files_name_what_is_intact(run_dir):
    last, config = run_dir / "checkpoints" / "last.ckpt", run_dir / "config.yaml"
    whole, text = last.read_bytes(), config.read_text()
    last.write_bytes(whole[: len(whole) // 2])
    assert "best.ckpt is intact" in (said := refused(run_dir)) and "Pytorch" not in said
    last.write_bytes(whole)
    last.unlink()
    assert "last.ckpt is missing" in (said := refused(run_dir)) and "copy best.ckpt" in said
    last.mkdir()
    assert f"{last} is no regular file" in refused(run_dir)
    last.rmdir()
    last.write_bytes(whole)
    (run_dir / "train.log").rename(run_dir / "mine.log")
    (run_dir / "train.log").symlink_to(run_dir / "mine.log")
    assert f"{run_dir / 'train.log'} is a link" in refused(run_dir)
    (run_dir / "train.log").unlink()
    config.write_text("")
    assert "config.yaml is empty" in (said := refused(run_dir)) and "checkpoint=best" in said
    config.write_text(text[: text.index("\nmetrics:")])
    assert "config.yaml is cut off" in refused(run_dir)
    config.write_text("a: [1,")
    assert re.search("config.yaml is not readable as YAML .*restore it", refused(run_dir))


def test_a_full_disk_names_the_file_and_leaves_no_draft(tmp_path):
    for fault in (OSError(errno.ENOSPC, "full"), RuntimeError("PytorchStreamWriter failed writing file")):
        with pytest.raises(OSError) as error, files.replacing(tmp_path / "last.ckpt"):
            raise fault
        message = errors.explain(error.value)
        assert str(tmp_path / "last.ckpt") in message and "free some space" in message
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_place_that_cannot_be_written_is_named_with_the_keys_for_another(number, tmp_path):
    with pytest.raises(OSError) as error, files.replacing(tmp_path / "summary.json") as draft:
        raise OSError(number, os.strerror(number), str(draft))
    message = errors.explain(error.value)
    assert message.startswith(f"{tmp_path / 'summary.json'}: ") and "run_dir=" in message
    assert "Errno" not in message and "Error" not in message


def test_a_file_with_a_second_name_is_not_written_through_it(tmp_path):
    (tmp_path / "mine.txt").write_text("mine\n")
    os.link(tmp_path / "mine.txt", tmp_path / "train.log")
    files.append(tmp_path / "train.log", "more\n")
    assert (tmp_path / "mine.txt").read_text() == "mine\n"
    assert (tmp_path / "train.log").read_text() == "mine\nmore\n"


def test_what_is_left_out_shows_its_traceback_in_the_log_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FOVEA_TRACEBACK", raising=False)
    configure(tmp_path)
    try:
        raise OSError("disk")
    except OSError:
        logging.getLogger("fovea.x").warning("a section is left out", exc_info=True)
    finally:
        configure(None)
    assert capsys.readouterr().err == "a section is left out\n"
    assert "OSError: disk" in (tmp_path / "train.log").read_text()


def test_a_folder_that_vanished_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="run is gone"):
        files.write_text(tmp_path / "run" / "metrics.csv", "x")


def test_exhausted_memory_names_the_key():
    worker = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. out of shared memory")
    assert "data.num_workers=0" in errors.explain(worker)
    cached = runs.compose([*runs.QUICK, "data.cache=true"])
    assert "data.cache=auto" in errors.explain(MemoryError(), config=cached)
    assert "data.batch_size=16" in errors.explain(MemoryError(), config=runs.compose(runs.QUICK))


def command(name, *words, **options):
    script = runs.ROOT / "src" / f"{name}.py"
    return subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, errors="replace", **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["predict", "explain", "export"])
def test_results_go_through_no_link_in_a_run(name, run_dir, tmp_path):
    import numpy as np
    from PIL import Image

    outside, photos = tmp_path / "outside", tmp_path / "photos"
    outside.mkdir()
    photos.mkdir()
    (outside / "mine.png").write_text("mine")
    (outside / "predictions.csv").write_text("mine")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(photos / "a.png")
    before = content(outside)
    (run_dir / name).symlink_to(outside)
    words = ["format=onnx"] if name == "export" else [f"input={photos}"]
    done = command(name, f"run={run_dir}", *words)
    assert done.returncode != 0 and f"{run_dir / name} is a link" in done.stderr, done.stderr
    assert content(outside) == before


@pytest.mark.slow
def test_explain_takes_names_that_are_no_text(run_dir, tmp_path):
    import numpy as np
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(photos / "a.png")
    os.rename(os.fsencode(photos / "a.png"), os.fsencode(photos) + b"/caf\xe9.png")
    done = command("explain", f"run={run_dir}", "method=saliency", f"input={photos}")
    assert done.returncode == 0, done.stderr
    assert "caf" in (run_dir / "explain" / "explain.csv").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_wrong_start_frees_its_directory_and_closed_streams_do_not_matter(tmp_path):
    run_dir = tmp_path / "run"
    words = [*runs.QUICK, "trainer.max_epochs=1", f"run_dir={run_dir}"]
    done = command("train", *words, "data.fold=7", "data.num_folds=5")
    assert done.returncode == 2 and "data.num_folds" in done.stderr and not run_dir.exists()
    done = command("train", "data=folder", f"data.root={tmp_path}/nowhere", *words[1:])
    assert done.returncode == 2 and "nowhere" in done.stderr and not run_dir.exists()
    script = runs.ROOT / "src" / "train.py"
    closed = 'exec "$@" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", closed, "sh", sys.executable, str(script), *words]).returncode == 0
    assert rundir.read_summary(run_dir)["status"] == "finished"


@pytest.mark.parametrize("name", ["train", "predict"])
def test_an_empty_place_for_results_is_refused(name, tmp_path):
    words = ["run_dir="] if name == "train" else ["run=x", "input=.", "output="]
    done = command(name, *words, cwd=tmp_path)
    assert done.returncode != 0 and list(tmp_path.iterdir()) == []
    assert ("run_dir is" if name == "train" else "output= is empty") in done.stderr
