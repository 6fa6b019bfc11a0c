import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fovea.compare.types import ModelGroup, PairedTest, PerImageScores
from fovea.compare.verdicts import different_tests, interval, paired_tests
from fovea.metrics.significance import mcnemar, t_interval, wilson
from fovea.runs.read import Run, read_run
from fovea.types import Resampled
from helpers.toy_comparison import CLASSES, TASK, groups_of, write_run


def differ(*dirs):
    runs = [read_run(path) for path in dirs]
    return different_tests(runs, [TASK.read(run) for run in runs])


@pytest.mark.parametrize(
    ("change", "said"),
    [({"data": "other"}, "data set: toy / other"), ({"size": 57}, "test images: 60 / 57")],
)
def test_different_test_sets_are_named(tmp_path, change, said):
    found = differ(write_run(tmp_path, "a"), write_run(tmp_path, "b", **change))
    assert str(tmp_path / "a") in found and str(tmp_path / "b") in found and said in found


@pytest.mark.parametrize(("key", "said"), [("ids", "names"), ("target", "ground truth")])
def test_same_size_but_other_images_or_answers(tmp_path, key, said):
    dirs = [write_run(tmp_path, name) for name in "ab"]
    path = dirs[1] / "predictions" / "test.npz"
    arrays = dict(np.load(path))
    arrays[key][5] = arrays[key][5] + (1 if key == "target" else "")
    if key == "ids":
        arrays[key] = np.char.add(arrays[key], "x")
    np.savez(path, **arrays)
    assert said in differ(*dirs)


def test_other_classes_or_another_protocol_are_no_like_test(tmp_path):
    """The view that reads all runs has the classes and the protocol of the first."""
    first = write_run(tmp_path, "a", metrics={"protocol": "coco"})
    swapped, fewer = write_run(tmp_path, "b"), write_run(tmp_path, "c")
    for path, classes in ((swapped, [CLASSES[0], *CLASSES[:0:-1]]), (fewer, CLASSES[:2])):
        summary = json.loads((path / "summary.json").read_text())
        summary["data"]["classes"] = classes
        (path / "summary.json").write_text(json.dumps(summary))
    assert differ(first, swapped).endswith(f"classes: number 1 is {CLASSES[1]!r} / {CLASSES[2]!r}")
    assert differ(first, fewer).endswith("not tested on the same images: classes: 3 / 2")
    other = write_run(tmp_path, "d", metrics={"protocol": "voc07"})
    assert differ(first, other).endswith("not measured alike: metrics.protocol: coco / voc07")
    assert differ(first, write_run(tmp_path, "e")) is None  # it does not tell


def test_a_run_without_predictions_is_no_other_test_set(tmp_path):
    assert differ(write_run(tmp_path, "a"), write_run(tmp_path, "b", test=False)) is None


def test_the_interval_covers_seeds_where_there_are_several_else_test_images(tmp_path):
    seeds = [write_run(tmp_path, f"a{s}", seed=s, wrong=range(s)) for s in (0, 1, 2)]
    several, single = groups_of(*seeds, write_run(tmp_path, "b", model="cnn", wrong=range(20)))
    accuracies = [1, 59 / 60, 58 / 60]
    low, high, over = interval(several, "test/acc", paired=True)
    assert low == pytest.approx(t_interval(accuracies)[0]) and t_interval(accuracies)[1] > 1
    assert high == 1 and over == "seeds, cut to 0…1"
    losses = interval(several, "test/loss", paired=True)
    assert losses[0] < 0 and losses[2] == "seeds"  # no share: a loss may lie anywhere
    narrow = replace(several, runs=several.runs[1:])
    by_hand = (59 + 58) / 120 - 0.01 - 12.7062 / 60 / 2  # t of one degree of freedom
    assert interval(narrow, "val/acc", paired=False)[:2] == (pytest.approx(by_hand, abs=1e-6), 1)
    assert interval(single, "test/acc", paired=True) == (*wilson(40, 60), "images")
    shares = np.linspace(0, 1, 60)
    graded = replace(single, scores=[replace(single.scores[0], values=shares)])
    assert interval(graded, "test/acc", paired=True) == (*t_interval(shares), "images")
    low, high, over = interval(single, "test/acc", paired=False)  # the scores are of another metric
    assert math.isnan(low) and math.isnan(high) and over == ""


def test_runs_that_differ_in_more_than_the_seed_are_not_called_seeds(tmp_path):
    """As where group_by joins several learning rates, or a seed is there twice."""
    a = [write_run(tmp_path, f"a{s}", seed=s, wrong=range(s)) for s in (0, 1)]
    b = [write_run(tmp_path, f"b{s}", seed=s, model="cnn", wrong=range(9)) for s in (0, 1)]
    other = write_run(tmp_path, "again", seed=1, wrong=range(5))
    one, two = groups_of(*a, *b)
    mixed = replace(one, runs=[*one.runs, two.runs[1]], scores=[*one.scores, two.scores[1]])
    twice = replace(one, runs=[*one.runs, read_run(other)], scores=[*one.scores, two.scores[1]])
    for group in (mixed, twice):
        assert interval(group, "test/acc", paired=True)[2].startswith("runs")
        (found,) = paired_tests([group, two], two)
        assert found.covers == "images and runs" and "and runs" in found.method
    assert interval(one, "test/acc", paired=True)[2].startswith("seeds")


def test_single_runs_are_tested_by_mcnemar(tmp_path):
    groups = groups_of(
        write_run(tmp_path, "a", wrong=range(4)), write_run(tmp_path, "b", model="cnn", wrong=range(2, 20))
    )
    (found,) = paired_tests(groups, groups[0])
    assert found.p == found.adjusted == mcnemar(2, 16)
    assert found.difference == pytest.approx(-14 / 60) and found.low < found.difference < found.high < 0
    assert found.detail == "2 won, 16 lost" and found.words("mlp") == "worse than mlp (p = 0.001)"
    (reverse,) = paired_tests(groups, groups[1])
    assert reverse.words("cnn") == "better than cnn (p = 0.001)"


def test_seeds_enter_the_test(tmp_path):
    a = [write_run(tmp_path, f"a{s}", seed=s, wrong=range(s, s + 3)) for s in (0, 1)]
    b = [write_run(tmp_path, f"b{s}", seed=s, model="cnn", wrong=range(s, s + 4)) for s in (0, 1, 2)]
    groups = groups_of(*a, *b)
    (found,) = paired_tests(groups, groups[0])
    assert found.covers == "images and seeds" and found.adjusted > 0.05
    assert " mlp (p = " in found.words("mlp")
    assert found.difference == pytest.approx((57 + 57 - 57 * 2) / 120 - 1 / 60)


def test_runs_whose_intervals_over_seeds_overlap_do_not_differ(tmp_path):
    a = [write_run(tmp_path, f"a{s}", seed=s, size=600, wrong=range(n)) for s, n in ((0, 10), (1, 60))]
    b = [
        write_run(tmp_path, f"b{s}", seed=s, size=600, model="cnn", wrong=range(n))
        for s, n in ((0, 90), (1, 60))
    ]
    groups = groups_of(*a, *b)
    (found,) = paired_tests(groups, groups[0])
    assert found.adjusted > 0.05 and found.low < 0 < found.high and "paired" in found.method
    (single,) = paired_tests(both := groups_of(a[0], b[0]), both[0])
    assert single.adjusted < 0.001 and single.covers == "images" and "for these runs" in single.scope


def test_several_comparisons_are_corrected(tmp_path):
    groups = groups_of(
        write_run(tmp_path, "a"), write_run(tmp_path, "b", model="cnn", wrong=range(6)),
        write_run(tmp_path, "c", model="vit", wrong=range(12)),
    )  # fmt: skip
    found = paired_tests(groups, groups[0])
    raw = [mcnemar(0, 6), mcnemar(0, 12)]
    assert [v.adjusted for v in found] == pytest.approx([max(raw[0], 2 * raw[1]), 2 * raw[1]])


def test_a_p_at_the_limit_of_the_draws_is_a_bound():
    at_limit = PairedTest("x", -0.1, -0.2, -0.05, 2e-4, "paired bootstrap", adjusted=0.008, bound=True)
    assert at_limit.words() == "worse (p ≤ 0.008)"


def test_a_figure_of_all_images_is_tested_by_its_own_resamples():
    """Not by the scores of single images: here these say the reverse."""
    rng = np.random.default_rng(0)
    common = rng.normal(0, 0.02, 1000)

    def run_of(name, seed):
        return Run(Path(name), {"seed": seed}, {"seed": seed}, "", {})

    def group(name, value, noise, runs=1):
        found = [
            PerImageScores(
                np.arange(50).astype(str), np.zeros(50), np.full(50, 1 - value), None,
                Resampled(value + 0.001 * i, value + 0.001 * i + common + rng.normal(0, noise, 1000)),
            )
            for i in range(runs)
        ]  # fmt: skip
        return ModelGroup(name, [run_of(name, seed) for seed in range(runs)], found)

    base = group("base", 0.5, 0.001)
    better, same = paired_tests([base, group("better", 0.52, 0.001), group("same", 0.5, 0.001)], base)
    assert better.difference == pytest.approx(0.02) and 0.01 < better.low < 0.02 < better.high < 0.03
    assert better.p == pytest.approx(2 / 1001) and better.bound and better.draws == 1000
    assert better.adjusted == pytest.approx(2 * better.p) and better.words() == "better (p ≤ 0.004)"
    assert same.p > 0.05 and same.low < 0 < same.high
    several = [group("a", 0.5, 0.001, runs=3), group("b", 0.52, 0.001, runs=3)]
    (over,) = paired_tests(several, several[0])
    assert over.covers.startswith("images and") and over.p < 0.05 and over.low < 0.02 < over.high
    nothing = group("nothing", np.nan, 0.0)
    (unknown,) = paired_tests([base, nothing], base)
    assert unknown.p == 1.0 and np.isnan(unknown.low)
