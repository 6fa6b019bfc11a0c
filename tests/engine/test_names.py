"""A run has a name and tags, and may be for debugging; every page and table says so."""

import json
import subprocess
import sys

import pytest

from helpers import processes, runs


def command(script, *words, cwd):
    call = [sys.executable, str(runs.ROOT / "src" / f"{script}.py"), *words]
    return subprocess.run(call, env=processes.ENVIRONMENT, capture_output=True, text=True, cwd=cwd)


@pytest.mark.slow
def test_a_batch_of_several_classes_is_learned_and_everything_names_the_run(tmp_path):
    logs = f"paths.logs={tmp_path}/logs"
    words = ["experiment=mlp_digits", "trainer=cpu", "debug=overfit", "data.num_workers=0", logs]
    done = command("train", *words, "name=one batch", "tags=[week3,debug]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "logs" / "mlp_digits").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["name"] == "one batch" and summary["tags"] == ["week3", "debug"]
    assert "overfit_batches" in summary["debug"] and "debug run" in done.stdout + done.stderr
    first, last = runs.rows(run)[0], runs.rows(run)[-1]
    assert float(last["train/loss"]) < 0.01 and float(first["train/acc"]) < 0.5  # several classes
    report = (run / "report.html").read_text()
    assert "one batch" in report and "week3, debug" in report and "debug run" in report
    found = command("eval", "run=last", "split=val", logs, cwd=tmp_path)
    assert found.returncode == 0 and str(run) in found.stderr, found.stderr
    compared = command("compare", f"runs={tmp_path}/logs", "tags=week3", "metric=train/acc", "timing=false",
                       logs, cwd=tmp_path)  # fmt: skip
    assert compared.returncode == 0 and "one batch" in compared.stdout + compared.stderr, compared.stderr
    other = command("compare", f"runs={tmp_path}/logs", "tags=week4", "timing=false", logs, cwd=tmp_path)
    assert other.returncode == 2 and "week4" in other.stderr


@pytest.mark.parametrize("word", ["name=../x", "name=", "tags=x", "tags=[a/b]", "name=~x"])
def test_names_that_could_be_paths_are_refused(word, tmp_path):
    done = command("train", "experiment=mlp_digits", word, f"run_dir={tmp_path}/run", cwd=tmp_path)
    key = word.partition("=")[0]
    assert done.returncode == 2 and key in done.stderr and not (tmp_path / "run").exists(), done.stderr


@pytest.mark.slow
def test_runs_of_one_experiment_are_told_apart_by_what_they_change(tmp_path):
    for model in ("mlp", "tiny"):
        words = ["experiment=mlp_digits", "trainer=cpu", "debug=limit", f"model={model}", "test=false"]
        done = command("train", *words, f"paths.logs={tmp_path}/logs", cwd=tmp_path)
        assert done.returncode == 0 and f"model={model}" in done.stdout + done.stderr, done.stderr
    first, second = sorted((tmp_path / "logs" / "mlp_digits").iterdir(), key=lambda run: run.name[-4:])
    assert first.name.endswith("_mlp") and second.name.endswith("_tiny")
    assert json.loads((second / "summary.json").read_text())["name"] == "mlp_digits model=tiny"
    assert "mlp_digits model=tiny" in (second / "report.html").read_text()
