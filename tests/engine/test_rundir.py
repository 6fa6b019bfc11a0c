import json
import os
import time

import pytest
from omegaconf import OmegaConf

from fovea.engine import rundir
from fovea.engine.summary import Summary
from fovea.errors import UsageError
from fovea.files import write_text
from helpers import runs

KEYS = {
    "status": str, "error": type(None), "command": str, "experiment": str, "task": str, "seed": int,
    "data": dict, "model": dict,
    "metrics": dict, "best": dict, "timing": dict, "peak_memory_mb": int, "environment": dict,
}  # fmt: skip
FILES = [
    "checkpoints",
    "config.yaml",
    "figures",
    "metrics.csv",
    "predictions",
    "report.html",
    "summary.json",
    "train.log",
]


def test_claims_never_share_a_directory(tmp_path):
    assert [rundir.claim(tmp_path / "run", fixed=False).name for _ in range(3)] == ["run", "run_2", "run_3"]


def test_a_directory_given_by_the_user_is_never_overwritten(tmp_path):
    run_dir = rundir.claim(tmp_path / "run", fixed=True)
    (run_dir / "config.yaml").write_text("task: {}\n")
    with pytest.raises(UsageError, match=r"already holds a run.*resume=true.*run_dir"):
        rundir.claim(run_dir, fixed=True)
    assert (run_dir / "config.yaml").read_text() == "task: {}\n"


@pytest.mark.parametrize("name", ["report.html", "train.log", "figures"])
def test_files_of_the_user_under_names_of_a_run_are_neither_overwritten_nor_deleted(name, tmp_path):
    (tmp_path / name).mkdir() if name == "figures" else (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=rf"holds {name}, which a run would overwrite; choose another"):
        rundir.claim(tmp_path, fixed=True)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_directory_that_was_there_stays_when_it_is_given_back(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for run_dir, keep in ((tmp_path, False), (tmp_path / "given", True), (tmp_path / "made", False)):
        run_dir.mkdir(exist_ok=True)
        rundir.claim(run_dir, fixed=True)
        (run_dir / ".0123456789abcdef.part").touch()  # of a file that found no room
        rundir.give_back(run_dir, {}, keep=keep)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given", "notes.txt"]


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "summary.json"
    write_text(file, "old")
    monkeypatch.setattr(os, "replace", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_text(file, "new")
    assert file.read_text() == "old"


def test_what_is_not_a_run_directory(tmp_path):
    with pytest.raises(UsageError, match=r"none .*config\.yaml \(no such directory\)"):
        rundir.read_config(tmp_path / "none")
    with pytest.raises(UsageError, match=r"config\.yaml \(it is empty\)"):
        rundir.read_config(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"config\.yaml \(notes\.txt\)"):
        rundir.read_config(tmp_path)
    (tmp_path / "config.yaml").touch()
    with pytest.raises(UsageError, match="start a new one"):
        rundir.read_config(tmp_path)


def test_moving_takes_paths_inside_the_directory_along_and_no_others(tmp_path):
    config = OmegaConf.create(
        {
            "run_dir": "/a/run",
            "checkpoint": {"dirpath": "/a/run/checkpoints"},
            "data": ["/a/run2/x", "/a/run"],
        }
    )
    moved = rundir.move(config, tmp_path)
    assert moved.run_dir == str(tmp_path) and moved.checkpoint.dirpath == f"{tmp_path}/checkpoints"
    assert list(moved.data) == ["/a/run2/x", str(tmp_path)]


def test_non_finite_numbers_become_null(tmp_path):
    rundir.write_summary(tmp_path, {"metrics": {"a": float("nan"), "b": [float("inf"), 1.0]}})
    text = (tmp_path / "summary.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"metrics": {"a": None, "b": [None, 1.0]}}


def test_status_of_a_process_that_is_alive_or_gone(tmp_path):
    me = rundir.process()
    rundir.write_summary(tmp_path, {"status": "running", "process": me})
    assert rundir.read_summary(tmp_path)["status"] == "running"
    reused = {**me, "started": me["started"] - 100}  # another process has got the same number since
    rundir.write_summary(tmp_path, {"status": "running", "error": None, "process": reused})
    found = rundir.read_summary(tmp_path)
    assert (found["status"], found["error"]) == ("interrupted", "killed")
    away = {**me, "host": "elsewhere"}
    rundir.write_summary(tmp_path, {"status": "running", "process": away})
    assert rundir.read_summary(tmp_path)["status"] == "running"
    rundir.write_summary(tmp_path, {"status": "running", "process": {**away, "written": time.time() - 7200}})
    assert rundir.read_summary(tmp_path)["status"] == "interrupted"


def test_a_run_killed_before_its_summary(tmp_path):
    assert rundir.read_summary(tmp_path)["status"] == "interrupted"
    (tmp_path / "summary.json").write_text('{"status": "runn')
    assert rundir.read_summary(tmp_path)["error"].startswith("killed")


def test_a_summary_exists_from_the_start(tmp_path):
    config = runs.compose([*runs.QUICK, f"run_dir={tmp_path}"])
    Summary(tmp_path, config)
    facts = rundir.read_summary(tmp_path)
    assert facts["status"] == "running" and rundir.read_config(tmp_path) == config


@pytest.mark.slow
def test_a_finished_run_holds_what_the_design_says(tmp_path):
    run_dir = tmp_path / "run"
    assert runs.train([*runs.QUICK, "trainer.max_epochs=2"], run_dir=run_dir, report=True) == 0
    assert sorted(p.name for p in run_dir.iterdir()) == FILES
    assert sorted(p.name for p in (run_dir / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    facts = json.loads((run_dir / "summary.json").read_text())
    assert {k: type(facts[k]) for k in KEYS} == KEYS
    assert facts["status"] == "finished" and facts["seed"] == 0 and facts["command"].startswith("python ")
    assert facts["data"]["source"] == "embedded" and facts["data"]["num_classes"] == len(
        facts["data"]["classes"]
    )
    assert {"train/loss", "val/loss", "val/acc", "test/loss", "test/acc"} <= set(facts["metrics"])
    assert facts["metrics"]["val/acc"] == facts["best"]["value"] and facts["best"]["monitor"] == "val/acc"
    assert len(facts["timing"]["epoch_s"]) == len(runs.rows(run_dir)) == 2
    assert facts["model"]["params"] == facts["model"]["trainable_params"] > 0
    assert rundir.read_config(run_dir).run_dir == str(run_dir)
    assert "${" not in (run_dir / "config.yaml").read_text()
    assert "Traceback" not in runs.output(run_dir)


@pytest.mark.slow
def test_two_runs_in_one_second_get_a_directory_each(tmp_path, monkeypatch):
    started = [
        runs.start([*runs.QUICK, "trainer.max_epochs=1"], run_dir=tmp_path / "run", fixed=False) for _ in "ab"
    ]
    for process in started:
        process.join(120)
        assert process.exitcode == 0
    assert [rundir.read_summary(tmp_path / n)["status"] for n in ("run", "run_2")] == ["finished"] * 2


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_stands_in_the_way_of_all_runs_is_named(tmp_path, kind):
    logs = tmp_path / "logs"
    logs.write_text("notes") if kind == "file" else logs.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=rf"{logs} is a {kind}.*paths\.logs=DIR"):
        rundir.claim(logs / "vit" / "today", fixed=False)


def test_a_directory_in_which_a_run_is_being_set_up_is_said_to_be(tmp_path):
    run_dir = rundir.claim(tmp_path / "run", fixed=True)
    with rundir.hold(run_dir), pytest.raises(UsageError, match="is being set up; wait"):
        rundir.claim(run_dir, fixed=True)
    with pytest.raises(UsageError, match=r"already holds a run.*resume=true"):
        rundir.claim(run_dir, fixed=True)
