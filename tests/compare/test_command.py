import csv
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from fovea.compare import command
from fovea.errors import UsageError
from helpers import runs
from helpers.toy_comparison import write_run

QUIET = ("timing=false", "images=false")


@pytest.fixture
def call(own_process, tmp_path, capsys):
    """Compare with overrides; return what was found as JSON and what was printed."""

    def run(*words):
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(runs.ROOT / "conf")):
            config = compose("compare", overrides=[f"output={tmp_path}/out", *words])
        command.main(config)
        return json.loads((tmp_path / "out" / "compare.json").read_text()), capsys.readouterr().err

    return run


@pytest.fixture
def logs(tmp_path):
    """Two models, two seeds each, in a sweep and beside it; and a run that failed."""
    root = tmp_path / "logs"
    for seed in (0, 1):
        write_run(root, f"toy/sweep_x/{seed}", seed=seed, wrong=range(4), overrides=[f"seed={seed}"])
        write_run(root, f"toy/2026_{seed}", seed=seed, model="cnn", wrong=range(20))
    write_run(root, "toy/broken", model="vit", status="failed")
    return root


def test_everything_is_written_and_the_table_printed(call, logs, tmp_path):
    found, said = call(f"runs={logs}", *QUIET)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"compare.{e}" for e in ("md", "csv", "tex", "html", "json")} | {
        "figures",
        ".compare_files",
    }
    assert [row["model"] for row in found["rows"]] == ["mlp", "cnn"]
    assert (
        found["baseline"] == "mlp" and found["tests"][0]["p"] < 0.001 and found["tests"][0]["difference"] < 0
    )
    assert found["rows"][0]["test/acc"] == pytest.approx(56 / 60) and found["rows"][0]["runs"] == 2
    assert f"{logs}/toy/broken: failed" in said and "cnn: worse (p < 0.001)" in said


def test_runs_are_found_by_directory_glob_and_list_each_once(logs):
    toy = logs / "toy"
    assert command.find([str(toy / "sweep_x")]) == [toy / "sweep_x" / "0", toy / "sweep_x" / "1"]
    assert len(command.find([str(logs)])) == 5
    found = command.find([f"{toy}/2026_*", str(toy / "2026_1"), f"{logs}/*/sweep_*"])
    assert [path.name for path in found] == ["2026_0", "2026_1", "0", "1"]
    inside = toy / "2026_0" / "wandb" / "x"
    inside.mkdir(parents=True)
    (inside / "config.yaml").touch()
    assert len(command.find([str(logs)])) == 5


def test_jobs_come_by_number(tmp_path):
    for number in (10, 9, 1):
        write_run(tmp_path, str(number))
    assert [path.name for path in command.find([str(tmp_path)])] == ["1", "9", "10"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "runs= is missing"),
        (["runs=/nowhere"], "runs=/nowhere.*config.yaml"),
        (["runs={logs}/toy/broken"], "broken: failed"),
        (["runs={logs}", "include=[finished,done]"], "include=done"),
        (["runs={logs}", "baseline=resnet"], "baseline=resnet .*: mlp; cnn"),
        (["runs={logs}", "metric=test/ac"], "nearest: test/acc"),
        (["runs={logs}", "mode=most"], "mode=most"),
        (["runs={logs}", "group_by=[model.size]"], "'model.size'"),
        (["runs={logs}", "rounds=0"], "rounds is 0"),
        (["runs={logs}", "exclude=/nowhere"], "exclude=/nowhere.*config.yaml"),
        (["runs={logs}", "exclude={logs}"], "exclude= leaves no run"),
        (["runs={logs}", "tags=week9"], "no run has tags=week9; there are: none"),
    ],
)
def test_wrong_commands_are_refused(call, logs, words, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call(*(word.format(logs=logs) for word in words))


def test_include_takes_failed_runs_in(call, logs):
    found, _ = call(f"runs={logs}", "include=[finished,failed]", *QUIET)
    assert [row["model"] for row in found["rows"]] == ["vit", "mlp", "cnn"] and not found["left_out"]


def test_different_test_sets_are_refused_unless_asked_for(call, logs):
    other = write_run(logs, "other", model="vit", size=51, wrong=[1])
    with pytest.raises(UsageError, match=rf"(?s){other}.*51 / 60.*allow_different_tests=true"):
        call(f"runs={logs}", *QUIET)
    with pytest.raises(UsageError, match=rf"(?s)leave out .*: exclude=\[{other}\]"):
        call(f"runs={logs}", *QUIET)
    assert len(call(f"runs={logs}", f"exclude=[{other}]", *QUIET)[0]["rows"]) == 2
    found, _ = call(f"runs={logs}", "allow_different_tests=true", *QUIET)
    assert len(found["rows"]) == 3 and found["tests"] == [] and found["table"] is None
    assert any("51 / 60" in note for note in found["notes"])
    (other / "predictions" / "test.npz").write_bytes(b"")  # of other classes, say: no fault of the file's
    found, _ = call(f"runs={logs}", "allow_different_tests=true", *QUIET)
    assert not any("test.npz" in note for note in found["notes"])


def test_runs_without_a_test_stage(call, tmp_path):
    bare = write_run(tmp_path / "bare", "r", model="cnn", test=False)
    with pytest.raises(UsageError, match=r"(?s)test stage.*eval\.py.*metric=val/acc"):
        call(f"runs={bare}", *QUIET)
    found, _ = call(f"runs={bare}", "metric=val/acc", *QUIET)
    assert found["metric"] == "val/acc"
    write_run(tmp_path, "tested", wrong=[1])
    both = f"runs=[{bare},{tmp_path}/tested]"
    found, _ = call(both, *QUIET)
    assert [row["model"] for row in found["rows"]] == ["mlp", "cnn"] and found["rows"][1]["test/acc"] is None
    assert any("test/acc" in note and str(bare) in note for note in found["notes"])
    with pytest.raises(UsageError, match=r"baseline=cnn .* has no test/acc"):
        call(both, "baseline=cnn", *QUIET)


def test_what_eval_measured_afterwards_counts(call, tmp_path):
    run = write_run(tmp_path, "r", test=False)
    best, file = run / "checkpoints" / "best.ckpt", run / "eval_test.json"
    best.parent.mkdir(exist_ok=True)
    best.touch()
    images = json.loads((run / "summary.json").read_text())["data"]["num_test"]
    facts = {"split": "test", "checkpoint": str(best), "metrics": {"test/acc": 0.25},
             "data": {"num_images": images}}  # fmt: skip
    file.write_text(json.dumps(facts))
    found, _ = call(f"runs={run}", *QUIET)
    assert found["rows"][0]["test/acc"] == 0.25
    for other in ({"checkpoint": "checkpoints/last.ckpt"}, {"data": {"num_images": images - 1}}):
        file.write_text(json.dumps({**facts, **other}))
        with pytest.raises(UsageError, match=r"eval\.py"):
            call(f"runs={run}", *QUIET)
    file.write_text(json.dumps(facts))
    later = file.stat().st_mtime + 5
    os.utime(best, (later, later))  # the training went on
    with pytest.raises(UsageError, match=r"eval\.py"):
        call(f"runs={run}", *QUIET)


def test_losses_rank_the_other_way(call, logs):
    found, said = call(f"runs={logs}", "metric=test/loss", *QUIET)
    losses = [row["test/loss"] for row in found["rows"]]
    assert losses == sorted(losses)
    assert any("test/acc" in note for note in found["notes"])
    assert re.search(r"Difference.* test/acc.* mlp", said)


def test_runs_of_different_aims_need_a_metric(call, logs):
    other = write_run(logs, "other", model="vit", metrics={"monitor": "val/loss", "mode": "min"})
    summary = json.loads((other / "summary.json").read_text())
    summary["best"] = {"monitor": "val/loss", "mode": "min"}
    (other / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(UsageError, match=r"val/acc, val/loss.*metric="):
        call(f"runs={logs}", *QUIET)
    assert len(call(f"runs={logs}", "metric=test/acc", *QUIET)[0]["rows"]) == 3


def test_another_task_has_tables_but_no_part_of_its_own(call, tmp_path):
    run = write_run(tmp_path, "r", report={"view": None, "sections": []})
    found, _ = call(f"runs={run}", *QUIET)
    assert found["table"] is None and found["rows"][0]["test/acc"] == 1.0


def test_figures_of_an_earlier_comparison_go(call, logs, tmp_path):
    call(f"runs={logs}", *QUIET)
    figures = tmp_path / "out" / "figures"
    others = {figures / "effect_own.png", figures / "own_right_x_wrong.png", tmp_path / "own.png"}
    for file in (figures / "effect_old.png", *others):
        file.touch()
    listing = tmp_path / "out" / ".compare_files"
    assert (figures / "curves.png").is_file() and "figures/curves.png" in listing.read_text()
    listing.write_text(f"{listing.read_text()}figures/effect_old.png\n../own.png\n")
    call(f"runs={logs}", *QUIET)
    assert not (figures / "effect_old.png").exists() and all(file.exists() for file in others)


@pytest.mark.slow
def test_trained_networks_are_measured_and_their_images_drawn(call, trained_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained_run, copy)
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("lr: 0.01", "lr: 0.02"))
    with_gap(copy)
    found, _ = call(f"runs=[{trained_run},{copy}]", "rounds=5", "accelerator=cpu")
    first, second = found["rows"]
    wide = [784, 64, 128, 64, 10]
    assert first["flops"] == second["flops"] == 2 * sum(a * b for a, b in itertools.pairwise(wide))
    assert first["weights_mb"] == pytest.approx(4 * first["parameters"] / 1e6)
    assert 0 < first["latency_p50_ms"] <= first["latency_p95_ms"] and first["images_per_s"] > 0
    assert first["latency_p50_ms"] == second["latency_p50_ms"]  # one network, measured once
    assert re.search(r"\b5 .*batch 1\b.* 5 .*batch 32\b", " ".join(found["method"]))
    html = (tmp_path / "out" / "compare.html").read_text()
    assert "predicted as" in html and html.count("data:image/") >= 3
    assert len(list((tmp_path / "out" / "figures").glob("*_right_*_wrong.png"))) == 1


def with_gap(run):
    """Make three right predictions of a run wrong."""
    import numpy as np

    path = run / "predictions" / "test.npz"
    arrays = dict(np.load(path))
    right = np.flatnonzero(arrays["score"])[:3]
    arrays["probs"][right] = np.roll(arrays["probs"][right], 1, axis=1)
    arrays["score"][right] = 0
    np.savez(path, **arrays)


def test_missing_checkpoints_and_data_are_said(call, logs, tmp_path):
    found, _ = call(f"runs={logs}", "accelerator=cpu")
    assert sum("best.ckpt" in note for note in found["notes"]) == 2
    html = (tmp_path / "out" / "compare.html").read_text()
    assert f"{logs}/toy/sweep_x/0/config.yaml" in html  # what the pictures would have been read by


def test_a_broken_checkpoint_takes_nothing_from_the_others(call, trained_run, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(trained_run, bad)
    (bad / "config.yaml").write_text((bad / "config.yaml").read_text().replace("- 128", "- 127"))
    (bad / "checkpoints" / "best.ckpt").write_bytes(b"PK")
    found, _ = call(f"runs=[{trained_run},{bad}]", "rounds=2", "accelerator=cpu", "images=false")
    timed = [row["latency_p50_ms"] is not None for row in found["rows"]]
    assert sorted(timed) == [False, True]
    assert any("timed" in note and "bad" in note for note in found["notes"])


def test_neither_help_nor_tables_load_torch(logs, tmp_path):
    code = "import sys, runpy\ntry:\n    runpy.run_path(sys.argv[0], run_name='__main__')\nfinally:\n    "
    code += "print('torch' in sys.modules)"
    script = str(runs.ROOT / "src" / "compare.py")
    for words in (["--help"], [f"runs={logs}", f"output={tmp_path}/out", *QUIET]):
        start = (
            f"import sys; sys.argv = {[script, *words]!r}; sys.path.insert(0, {str(runs.ROOT / 'src')!r})\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", start + code], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "False"


def test_runs_of_several_places_are_named_and_can_be_kept_apart(call, tmp_path):
    for person in ("ann", "bob"):
        write_run(tmp_path / "logs", f"{person}/run_of_{person}", seed=len(person) + (person == "bob"))
    found, said = call(f"runs={tmp_path}/logs", *QUIET)
    assert len(found["rows"]) == 1 and "group_by=[run_dir]" in said
    assert found["rows"][0]["names"].split(", ") == ["run_of_ann", "run_of_bob"]
    found, said = call(f"runs={tmp_path}/logs", "group_by=[run_dir]", *QUIET)
    assert len(found["rows"]) == 2 and "group_by=[run_dir]" not in said


def test_a_class_of_named_runs_of_equal_settings(call, tmp_path):
    """Ten people train one recipe with two seeds; a name and tags are all that tells their runs apart."""
    people = [f"student {i}" for i in range(10)]
    for i, name in enumerate(people):
        run = write_run(tmp_path / "class", f"s{i}", seed=i % 2, wrong=range(i % 2), tags=[f"week{i % 3}"])
        with (run / "config.yaml").open("a") as file:
            file.write(f"name: {name}\n")
    found, said = call(f"runs={tmp_path}/class", *QUIET)
    assert len(found["rows"]) == 1 and len(found["left_out"]) == 8 and "group_by=[name]" in said
    found, said = call(f"runs={tmp_path}/class", "group_by=[name]", *QUIET)
    assert sorted(row["model"] for row in found["rows"]) == people and not found["left_out"]
    assert "group_by=[name]" not in said and found["rows"][0]["of"][0]["tags"] == ["week0"]
    found, _ = call(f"runs={tmp_path}/class", "group_by=[tags]", "tags=[week0,week2]", *QUIET)
    assert {row["tags"]: row["runs"] for row in found["rows"]} == {"week0": 2, "week2": 2}
    with (tmp_path / "out" / "compare.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["tags"]: row for row in csv.DictReader(file)}
    assert "student 8 (s8)" in rows["week2"]["names"]
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "student 8" in page and "week2" in page
    with pytest.raises(UsageError, match="tags=week9; there are: week0, week1, week2"):
        call(f"runs={tmp_path}/class", "tags=week9", *QUIET)
