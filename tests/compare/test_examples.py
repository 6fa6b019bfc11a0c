import numpy as np
import pytest

from fovea.compare.examples import clearest
from fovea.runs.read import read_run
from helpers.toy_comparison import CLASSES, TASK, groups_of, write_run


def test_predictions_are_read_in_the_order_of_their_names(tmp_path):
    runs = [read_run(write_run(tmp_path, str(s), seed=s, wrong=[3, 4])) for s in (0, 1)]
    first, second = (TASK.read(run) for run in runs)
    assert first.digests == second.digests
    assert np.flatnonzero(first.values == 0).tolist() == [3, 4] == np.flatnonzero(second.values == 0).tolist()


def test_damaged_predictions_are_named(tmp_path):
    run = write_run(tmp_path, "r")
    (run / "predictions" / "test.npz").write_bytes(b"PK broken")
    with pytest.raises(ValueError, match=r"test\.npz"):
        TASK.read(read_run(run))


@pytest.mark.parametrize(
    "change",
    [
        {"probs": np.zeros((3, 2))},
        {"ids": np.array("a")},
        {"target": None},
        {"score": np.full(60, np.nan)},
        {"score": np.full(60, "1")},
        {"score": np.ones((60, 2))},
        {"score": np.ones(60, complex)},
        {"target": np.full(60, 2**40)},
        {"target": np.full(60, -5)},
        {"target": np.full(60, "a")},
    ],
)
def test_predictions_without_a_row_for_each_image_are_named(tmp_path, change):
    run = write_run(tmp_path, "r")
    file = run / "predictions" / "test.npz"
    arrays = {key: value for key, value in {**np.load(file), **change}.items() if value is not None}
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match=r"test\.npz"):
        TASK.read(read_run(run))


def test_an_archive_without_arrays_is_not_taken_for_a_run_without_predictions(tmp_path):
    run = write_run(tmp_path, "r")
    np.savez(run / "predictions" / "test.npz")
    with pytest.raises(ValueError, match=r"test\.npz"):
        TASK.read(read_run(run))


def test_disagreements_come_clearest_first(tmp_path):
    groups = groups_of(
        write_run(tmp_path, "a", wrong=[7]), write_run(tmp_path, "b", model="cnn", wrong=[1, 2, 7, 9])
    )
    groups[1].scores[0].extra["tie_break"][[1, 2, 9]] = [0.3, 0.01, 0.2]
    assert clearest(*groups, margin=1).tolist() == [2, 9, 1]
    assert clearest(*groups[::-1], margin=1).tolist() == []


def test_an_image_counts_by_most_of_the_runs(tmp_path):
    base = [write_run(tmp_path, "a")]
    other = [
        write_run(tmp_path, f"b{s}", seed=s, model="cnn", wrong=w)
        for s, w in enumerate([[1, 2], [1], [1, 3]])
    ]
    assert clearest(*groups_of(*base, *other), margin=1).tolist() == [1]


def test_classes_side_by_side(tmp_path):
    groups = groups_of(
        write_run(tmp_path, "a", wrong=[0, 3]), write_run(tmp_path, "b", model="cnn", wrong=[1])
    )
    _, heads, lines = TASK.table(groups)
    assert heads == ["Class", "Images", "mlp", "cnn"]
    assert lines == [[CLASSES[0], 20, 0.9, 1.0], [CLASSES[1], 20, 1.0, 0.95], [CLASSES[2], 20, 1.0, 1.0]]
