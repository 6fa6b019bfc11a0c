"""What a sweep leaves: table, csv, exit code, the command to continue."""

import csv
import json
import logging
import shlex
import sys

import pytest

from fovea.config.overrides import parse
from fovea.engine import rundir
from fovea.sweep import job_dir, summary
from helpers.toy_comparison import write_run


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
    assert summary.conclude(tmp_path, rows, asked={"0", "1"}, mode="max", stopped=False) == code


def test_jobs_of_earlier_commands_are_told_apart(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "lr=1,2", "sweep_dir=s"])
    rows = sweep_of(tmp_path, (["lr=1"], "finished", 0.1, None), (["lr=x"], "failed", None, "lr is 'x'"))
    with caplog.at_level(logging.INFO):
        assert summary.conclude(tmp_path, rows, asked={"0"}, mode="max", stopped=False) == 0
    assert "repeat" not in caplog.text and "job 1 failed" not in caplog.text
    assert "earlier commands" in caplog.text and f"{tmp_path / '1'}; delete" in caplog.text


def test_the_best_job_follows_the_mode(tmp_path):
    rows = sweep_of(tmp_path, *(([f"seed={i}"], "finished", v, None) for i, v in enumerate([0.3, 0.9, 0.1])))
    assert summary.best_row(rows, mode="max")["job"] == "1"
    assert summary.best_row(rows, mode="min")["job"] == "2"


def test_the_command_to_continue_is_shown(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=0,1", "+n='a b'", "sweep_dir=old"])
    sweep_dir = tmp_path / "my sweep"
    rows = sweep_of(sweep_dir, (["seed=0"], "interrupted", None, None))
    with caplog.at_level(logging.INFO):
        summary.conclude(sweep_dir, rows, asked={"0"}, mode="max", stopped=True)
    words = shlex.split(next(m for m in caplog.messages if "continue it" in m).splitlines()[-1])
    assert words[:5] == ["python", "src/train.py", "-m", "seed=0,1", "+n='a b'"]
    assert parse(words[2:]).choice("sweep_dir") == str(sweep_dir)


def test_jobs_without_a_test_are_compared_by_what_they_follow(tmp_path, caplog):
    rows = sweep_of(tmp_path, *(([f"seed={i}"], "finished", 0.9, None) for i in (0, 1)))
    for i in (0, 1):
        write_run(tmp_path / "sweep", str(i), seed=i, test=False)
    with caplog.at_level(logging.INFO):
        code = summary.conclude(tmp_path / "sweep", rows, asked={"0", "1"}, mode="max", stopped=False)
    assert code == 0
    found = json.loads((tmp_path / "sweep" / "comparison" / "compare.json").read_text())
    assert found["metric"] == "val/acc" and found["rows"][0]["runs"] == 2
    assert not any("could not be compared" in message for message in caplog.messages)
    assert any("metric=val/acc" in message for message in caplog.messages)
