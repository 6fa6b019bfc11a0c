import json
import os

import pytest

from fovea.compare.command import missing
from fovea.compare.grouping import choose, gather
from fovea.runs.read import read_run
from helpers.toy_comparison import write_run


def groups_of(*dirs, by=()):
    return gather([read_run(path) for path in dirs], [None] * len(dirs), by=by)


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path):
    dirs = [write_run(tmp_path, f"s{seed}", seed=seed, wrong=range(seed)) for seed in (2, 0, 1)]
    (group,), again = groups_of(*dirs)
    assert group.name == "mlp" and not again
    assert [run.config["seed"] for run in group.runs] == [0, 1, 2]  # also where data.seed follows it
    assert group.values("test/acc") == pytest.approx([1.0, 59 / 60, 58 / 60])
    assert group.mean("test/acc") == pytest.approx(59 / 60)
    assert group.std("test/acc") == pytest.approx(1 / 60)


def test_a_setting_that_goes_along_with_the_seed_by_accident_still_parts_groups(tmp_path):
    dirs = [write_run(tmp_path, str(i), seed=i, finetune={"unfreeze_epoch": i}) for i in (0, 1)]
    groups, _ = groups_of(*dirs)
    assert sorted(group.name for group in groups) == ["mlp, unfreeze_epoch=0", "mlp, unfreeze_epoch=1"]


def test_places_and_loggers_part_nothing(tmp_path):
    dirs = [write_run(tmp_path, str(i), seed=i, logger={"csv": i}, paths={"logs": i}) for i in (0, 1)]
    assert len(groups_of(*dirs)[0]) == 1


def test_a_repetition_counts_once(tmp_path):
    dirs = [write_run(tmp_path, name, seed=3) for name in ("new", "old")]
    os.utime(dirs[1] / "config.yaml", (1, 1))
    (group,), ((left, why),) = groups_of(*dirs)
    assert [run.dir.name for run in group.runs] == ["new"]
    assert left.dir.name == "old" and str(dirs[0]) in why


def test_names_say_what_differs_and_no_more(tmp_path):
    dirs = [
        write_run(tmp_path, "a", lr=0.1),
        write_run(tmp_path, "b", lr=1e-5),
        write_run(tmp_path, "c", model="cnn"),
        write_run(tmp_path, "d", lr=0.1, optimizer={"_target_": "torch.optim.Adam", "lr": 0.1}),
    ]
    names = {group.runs[0].dir.name: group.name for group in groups_of(*dirs)[0]}
    assert names["c"] == "cnn"
    assert len(set(names.values())) == 4
    assert {"lr=1e-05", "optimizer=SGD"} == set(names["b"].split(", ")[1:])
    assert {"lr=0.1", "optimizer=Adam"} == set(names["d"].split(", ")[1:])


def test_what_was_swept_names_groups_before_what_follows_from_it(tmp_path):
    dirs = [
        write_run(tmp_path, str(i), overrides=[f"optimizer.lr={lr}", "seed=0"], lr=lr, apart={"b": lr * 2})
        for i, lr in enumerate((0.1, 0.2))
    ]
    assert sorted(group.name for group in groups_of(*dirs)[0]) == ["mlp, lr=0.1", "mlp, lr=0.2"]


def test_group_by(tmp_path):
    dirs = [write_run(tmp_path, f"{m}{lr}", model=m, lr=lr) for m in ("mlp", "cnn") for lr in (0.1, 0.2)]
    groups, again = groups_of(*dirs, by=["model.name"])
    assert {group.name: len(group.runs) for group in groups} == {"mlp": 2, "cnn": 2} and not again
    groups, _ = groups_of(*dirs, by=["model.name", "optimizer.lr"])
    assert {group.name for group in groups} == {"mlp, lr=0.1", "mlp, lr=0.2", "cnn, lr=0.1", "cnn, lr=0.2"}
    with pytest.raises(ValueError, match=r"model\.nam"):
        groups_of(*dirs, by=["model.nam"])


def test_no_two_groups_have_one_name(tmp_path):
    more = {f"k{i}": i for i in range(9)}  # more settings than a name holds
    dirs = [write_run(tmp_path, f"a{i}", model="a", x={**more, f"k{i}": -1}) for i in range(9)]
    names = [group.name for group in groups_of(*dirs, write_run(tmp_path, "b", model="a #2"))[0]]
    assert len(set(names)) == 10


def test_choose(tmp_path):
    groups, _ = groups_of(
        *[write_run(tmp_path, str(lr), lr=lr) for lr in (0.1, 0.2)], write_run(tmp_path, "c", model="cnn")
    )
    assert choose(groups, "cnn").name == "cnn"
    assert choose(groups, "lr=0.2").name == choose(groups, str(tmp_path / "0.2")).name == "mlp, lr=0.2"
    with pytest.raises(ValueError, match=r"baseline=mlp .*: mlp, lr=0\.1; mlp, lr=0.2"):
        choose(groups, "mlp")
    with pytest.raises(ValueError, match=r"baseline=vit .*: .*cnn"):
        choose(groups, "vit")


def test_a_figure_that_is_no_number_is_told_from_one_that_was_not_measured(tmp_path):
    dirs = [write_run(tmp_path, name, model=name) for name in ("whole", "none", "nan")]
    for path, change in zip(dirs, ({}, None, {"test/acc": None}), strict=True):
        summary = json.loads((path / "summary.json").read_text())
        summary["metrics"] = {} if change is None else summary["metrics"] | change
        (path / "summary.json").write_text(json.dumps(summary))
    notes = " ".join(missing(groups_of(*dirs)[0], "test/acc"))
    assert "none: without test/acc (no test stage?)" in notes
    assert "nan: test/acc is not a number" in notes and "whole" not in notes
