"""What a sweep leaves: table, csv, exit code, the command to continue."""

import csv
import logging
import shlex
import sys

import pytest

from fovea.config.overrides import parse
from fovea.engine import rundir
from fovea.sweep import job_dir, summary


def finish(run_dir, status="finished", value=0.5, error=None):
    best = {"monitor": "val/acc", "value": value}
    rundir.write_summary(
        run_dir, {"status": status, "error": error, "best": best, "metrics": {"val/acc": value}}
    )


def sweep_of(tmp_path, *jobs):
    for i, (overrides, status, value, error) in enumerate(jobs):
        finish(job_dir.claim(tmp_path, overrides, number=i), status, value, error)
    return [summary.row(d) for d in job_dir.jobs(tmp_path)]


def test_what_a_job_measured_does_not_pass_for_what_it_is(tmp_path):
    run_dir = job_dir.claim(tmp_path, ["a=1"], number=0)
    for facts in (
        {"metrics": {"status": 1.0, "job": 5.0}},
        {"best": []},
        {"best": {"value": "x"}, "metrics": 5},
    ):
        rundir.write_summary(run_dir, {"status": "finished", **facts})
        row = summary.row(run_dir)
        assert (row["job"], row["status"], row["value"]) == ("0", "finished", None)
    rundir.write_summary(run_dir, {"metrics": {}})
    assert summary.row(run_dir)["status"] == "interrupted"


def test_the_table_shows_what_differs_and_the_csv_everything(tmp_path):
    rows = sweep_of(
        tmp_path,
        (["model=mlp", "seed=0", "+n='a b'"], "finished", 0.5, None),
        (["model=mlp", "seed=1", "+n='a b'"], "failed", None, "too bad"),
    )
    table = summary.table(rows)
    head, _, *lines = [line.split() for line in table.splitlines()]
    assert head == ["overrides", "status", "val/acc", "directory"]
    assert lines == [
        ["seed=0", "finished", "0.5000", str(tmp_path / "0")],
        ["seed=1", "failed", "–", str(tmp_path / "1")],
    ]
    summary.write_csv(tmp_path / "sweep.csv", rows)
    with (tmp_path / "sweep.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert read[0]["overrides"] == """model=mlp seed=0 '+n='"'"'a b'"'"''"""
    assert [r["status"] for r in read] == ["finished", "failed"]
    assert [r["error"] for r in read] == ["", "too bad"]
    assert float(read[0]["val/acc"]) == 0.5


def test_a_job_alone_shows_its_overrides():
    assert summary.differing([["a=1"]]) == [["a=1"]]
    assert summary.differing([["a=1", "b=2"], ["b=2"]]) == [["a=1"], []]


@pytest.mark.parametrize(
    ("statuses", "code"),
    [(["finished"] * 2, 0), (["finished", "failed"], 1), (["interrupted"], 1), (["finished", "running"], 1)],
)
def test_the_exit_code_says_whether_all_finished(tmp_path, statuses, code):
    rows = sweep_of(tmp_path, *(([f"seed={i}"], s, 0.1, None) for i, s in enumerate(statuses)))
    assert summary.conclude(tmp_path, rows, mode="max", stopped=False) == code


def test_the_best_job_follows_the_mode(tmp_path):
    rows = sweep_of(tmp_path, *(([f"seed={i}"], "finished", v, None) for i, v in enumerate([0.3, 0.9, 0.1])))
    assert summary.best_row(rows, mode="max")["job"] == "1"
    assert summary.best_row(rows, mode="min")["job"] == "2"


def test_the_command_to_continue_is_shown(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=0,1", "+n='a b'", "sweep_dir=old"])
    sweep_dir = tmp_path / "my sweep"
    rows = sweep_of(sweep_dir, (["seed=0"], "interrupted", None, None))
    with caplog.at_level(logging.INFO):
        summary.conclude(sweep_dir, rows, mode="max", stopped=True)
    words = shlex.split(next(m for m in caplog.messages if "continue it" in m).splitlines()[-1])
    assert words[:5] == ["python", "src/train.py", "-m", "seed=0,1", "+n='a b'"]
    assert parse(words[2:]).choice("sweep_dir") == str(sweep_dir)
