"""What is of another kind in summary.json than a run writes is left out, and named."""

import json
import random

import pytest

from fovea.engine import rundir
from fovea.runs import report
from fovea.runs.read import read_run
from fovea.runs.summary_file import read_summary_file

WHOLE = {
    "status": "finished", "error": None, "command": "train.py", "resumed": ["again"], "debug": None,
    "experiment": "mlp", "name": "mine", "tags": ["a"], "task": "Classification", "seed": 0,
    "data": {
        "name": "digits", "classes": ["a", "b"], "num_train": 9, "num_val": 3, "num_test": 3,
        "num_classes": 2, "source": "real", "skipped": {"test": ["x.png"]},
    },
    "model": {"name": "mlp", "pretrained": False, "params": 10, "trainable_params": 10},
    "metrics": {"val/acc": 0.5, "test/acc": None}, "measured": {"test": 3},
    "found": {"optimizer.lr": {"given": 0.1, "used": 0.2, "curve": {"lr": [0.1, 1.0], "loss": [1.0, None]}}},
    "best": {"monitor": "val/acc", "mode": "max", "value": 0.5, "epoch": 0},
    "timing": {"startup_s": 1, "fit_s": 2.5, "epoch_s": [1.0], "train_images_per_s": 3.0},
    "peak_memory_mb": 100, "environment": {"python": "3", "processes": 1, "device": "cpu"},
    "git_commit": None, "config": {"precision": "32-true", "batch_size": 3},
    "process": {"pid": 1, "host": "h", "started": 1.0, "written": 2.0},
}  # fmt: skip
ODD = [5, -(10**400), 1e308, True, "x", "", [], [[]], [5, "x"], {}, {"x": {"y": [1]}}, {"given": "x"}]


def places(node, at=()):
    for key, value in node.items():
        yield (*at, key)
        if isinstance(value, dict):
            yield from places(value, (*at, key))


def test_what_a_run_writes_is_read_as_it_is(tmp_path, caplog):
    (tmp_path / "summary.json").write_text(json.dumps(WHOLE))
    assert read_summary_file(tmp_path / "summary.json") == WHOLE and not caplog.text


def test_a_value_of_another_kind_is_named(tmp_path, caplog):
    (tmp_path / "summary.json").write_text(json.dumps(WHOLE | {"best": {"epoch": "x"}, "tags": 5}))
    found = read_summary_file(tmp_path / "summary.json")
    assert found["best"] == {} and "tags" not in found
    assert f"{tmp_path / 'summary.json'}: tags and 1 more" in caplog.text


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_every_reader_takes_what_is_left(seed, tmp_path):
    draw = random.Random(seed)
    for place in places(WHOLE):
        facts = json.loads(json.dumps(WHOLE))
        node = facts
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = draw.choice(ODD)
        (tmp_path / "summary.json").write_text(json.dumps(facts))
        assert rundir.read_summary(tmp_path)["status"] in ("finished", "interrupted", "x")
        report.final_table(read_run(tmp_path).summary, tmp_path)
        report.write_report(tmp_path)
