"""The directories of a sweep: claimed once, told apart by their overrides, begun again or kept."""

import multiprocessing
import os
import sys
import threading
import time

import pytest

from fovea import errors
from fovea.engine import rundir
from fovea.sweep import job_dir, job_process


def finish(run_dir, status="finished", value=0.5, error=None):
    best = {"monitor": "val/acc", "value": value}
    rundir.write_summary(
        run_dir, {"status": status, "error": error, "best": best, "metrics": {"val/acc": value}}
    )


def checkpoint(run_dir):
    (run_dir / "checkpoints").mkdir()
    (run_dir / "checkpoints" / "last.ckpt").touch()


def test_a_job_is_known_by_its_overrides_in_any_order(tmp_path):
    first = job_dir.claim(tmp_path, ["a=1", "b='x y'"], number=0)
    assert job_dir.claim(tmp_path, ["b='x y'", "a=1"], number=5) == first
    assert job_dir.claim(tmp_path, ["a=2", "b='x y'"], number=0).name == "1"
    assert job_dir.claim(tmp_path, ["a=3"], number=7).name == "7"


def test_a_folder_whose_name_is_no_number_is_no_job(tmp_path):
    for name in ("²", "x", "-1", "0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / job_dir.RECIPE).write_text("[a=1]")
    assert [path.name for path in job_dir.jobs(tmp_path)] == ["0"]


@pytest.mark.parametrize(
    "override", ['+note="it\'s [a, b]=c"', "data.mean=[0.1,0.2]", "~sweep", "k='${a.b}: #1'"]
)
def test_any_override_is_kept_as_written(tmp_path, override):
    assert job_dir.job_overrides(job_dir.claim(tmp_path, [override], number=0)) == [override]


def _claim(sweep_dir, barrier, queue, overrides):
    barrier.wait()
    queue.put(job_dir.claim(sweep_dir, overrides, number=0).name)


@pytest.mark.parametrize("same", [True, False])
def test_claims_at_the_same_time_share_nothing_but_the_same_job(tmp_path, same):
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(6), context.Queue()
    jobs = [["seed=0"] if same else [f"seed={i}"] for i in range(6)]
    workers = [context.Process(target=_claim, args=(tmp_path, barrier, queue, job)) for job in jobs]
    for worker in workers:
        worker.start()
    names = [queue.get(timeout=20) for _ in workers]
    for worker in workers:
        worker.join()
    assert len(set(names)) == (1 if same else 6)
    assert len(job_dir.jobs(tmp_path)) == len(set(names))


def test_a_finished_job_stays_as_it_is(tmp_path):
    run_dir = job_dir.claim(tmp_path, ["a=1"], number=0)
    finish(run_dir)
    with job_dir.open_job(tmp_path, ["a=1"], number=0) as job:
        assert job.state == "finished"
    assert rundir.read_summary(run_dir)["status"] == "finished"


@pytest.mark.parametrize(("report", "state"), [(True, "finished"), (False, "begun")])
def test_a_job_that_was_killed_before_its_report_is_resumed_to_make_it(tmp_path, report, state):
    run_dir = job_dir.claim(tmp_path, ["a=1"], number=0)
    finish(run_dir)
    checkpoint(run_dir)
    if report:
        (run_dir / "report.html").write_text("<p>")
    with job_dir.open_job(tmp_path, ["a=1"], number=0) as job:
        assert job.state == state


def test_a_failed_job_begins_again_and_keeps_its_log(tmp_path):
    run_dir = job_dir.claim(tmp_path, ["a=1"], number=0)
    finish(run_dir, "failed")
    checkpoint(run_dir)
    (run_dir / "train.log").write_text("why")
    (run_dir / "config.yaml").write_text("x: 1")
    with job_dir.open_job(tmp_path, ["a=1"], number=0) as job:
        assert job.state == "new"
    assert {p.name for p in run_dir.iterdir()} == {"overrides.yaml", "train.failed.log"}


@pytest.mark.parametrize(("saved", "state"), [(True, "begun"), (False, "new")])
def test_an_interrupted_job_goes_on_from_its_checkpoint(tmp_path, saved, state):
    run_dir = job_dir.claim(tmp_path, ["a=1"], number=0)
    finish(run_dir, "interrupted")
    if saved:
        checkpoint(run_dir)
    with job_dir.open_job(tmp_path, ["a=1"], number=0) as job:
        assert job.state == state


def test_a_job_without_a_summary_begins_again(tmp_path):
    job_dir.claim(tmp_path, ["a=1"], number=0)
    with job_dir.open_job(tmp_path, ["a=1"], number=0) as job:
        assert job.state == "new"


@pytest.mark.alone
def test_a_job_that_outlived_its_sweep_is_waited_for(tmp_path):
    """The lock lies with the process that runs the job, whoever else has gone."""
    run_dir = job_dir.claim(tmp_path, ["a=1"], number=0)
    with (run_dir / "overrides.yaml").open("r+") as lock:
        assert rundir.try_lock(lock.fileno())
        code = f"import time, pathlib; time.sleep(0.5); pathlib.Path({str(run_dir)!r}, 'report.html').touch()"
        thread = threading.Thread(
            target=job_process.call,
            args=([sys.executable, "-S", "-c", code],),
            kwargs={"output": None, "error_file": run_dir / "e", "keep": lock},
        )
        thread.start()
        time.sleep(0.2)
    with job_dir.open_job(tmp_path, ["a=1"], number=0) as job:
        assert job.state == "new"
        thread.join()
    assert not (run_dir / "report.html").exists()  # it had ended before its directory was cleared


def test_a_second_sweep_in_the_same_directory_is_refused(tmp_path):
    job_dir.hold(tmp_path / "s")
    with pytest.raises(errors.UsageError, match="running"):
        job_dir.hold(tmp_path / "s")
    os.close(job_dir._held.pop())
    job_dir.hold(tmp_path / "s")
    os.close(job_dir._held.pop())


def test_what_only_a_running_sweep_needs_is_removed(tmp_path):
    job_dir.claim(tmp_path / "s", ["a=1"], number=0)
    (tmp_path / "s" / "multirun.yaml").touch()
    job_dir.release(tmp_path / "s", empty=False)
    assert [p.name for p in (tmp_path / "s").iterdir()] == ["0"]
    (tmp_path / "none").mkdir()
    job_dir.release(tmp_path / "none", empty=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.alone
def test_a_stopped_sweep_waits_for_its_jobs_but_not_for_ever(tmp_path):
    run_dir = job_dir.claim(tmp_path, ["a=1"], number=0)
    with (run_dir / "overrides.yaml").open("r+") as lock:
        assert rundir.try_lock(lock.fileno())
        start = time.monotonic()
        job_dir.settle(tmp_path, seconds=0.3)
        assert time.monotonic() - start >= 0.3
    start = time.monotonic()
    job_dir.settle(tmp_path, seconds=30)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("name", ["multirun.yaml", "study.db", "sweep.csv", "comparison"])
def test_a_sweep_is_not_continued_through_links(name, tmp_path):
    (tmp_path / "mine").write_text("mine")
    sweep_dir = tmp_path / "sweep"
    sweep_dir.mkdir()
    (sweep_dir / name).symlink_to(tmp_path / "mine")
    with pytest.raises(errors.UsageError, match=rf"{name} is a link.*delete it"):
        job_dir.hold(sweep_dir)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_recipe_of_somebody_else_is_read_as_plain_text(tmp_path):
    run_dir = job_dir.claim(tmp_path, ["seed=1"], number=0)
    assert job_dir.job_overrides(run_dir) == ["seed=1"]
    for text in ("a: &a [*a]", "[" * 10_000, "!!python/object/apply:os.system [id]"):
        (run_dir / job_dir.RECIPE).write_text(text)
        with pytest.raises(errors.UsageError, match=job_dir.RECIPE):
            job_dir.job_overrides(run_dir)
