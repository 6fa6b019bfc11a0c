import os
import pickle

import numpy as np
import pytest

from fovea.data.datasets.cifar10 import CIFAR10
from fovea.data.formats.unpickle import read_pickle
from helpers.real_formats import images, write_cifar10


def test_reads_python_2_pickles_in_order(tmp_path):
    write_cifar10(tmp_path)
    train, test = (CIFAR10(root=tmp_path, split=split, subset=True) for split in CIFAR10.splits)
    assert np.array_equal(train.images, np.concatenate([images(20, (32, 32), 3, i) for i in range(5)]))
    assert np.array_equal(test.images, images(20, (32, 32), 3, 5))
    assert train.labels.tolist() == [i % 10 for i in range(20)] * 5 and train.images.flags.c_contiguous


def test_fixture_is_what_the_plain_unpickler_reads(tmp_path):
    write_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    with path.open("rb") as file:
        reference = pickle.load(file, encoding="latin1")
    mine = read_pickle(path)
    assert np.array_equal(mine["data"], reference["data"]) and mine["labels"] == reference["labels"]
    assert mine["filenames"][19] == "image_s_000019.png"


@pytest.mark.parametrize("protocol", [2, 4])
def test_reads_files_that_today_s_python_wrote(tmp_path, protocol):
    data = {"data": images(4, (32, 32)).reshape(4, 3072), "labels": [0, 1, 2, 3]}
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    assert np.array_equal(read_pickle(path)["data"], data["data"])


class Hostile:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("where", ["top", "labels", "object array"])
def test_a_hostile_pickle_is_refused_unrun(tmp_path, where):
    trap = tmp_path / "trap"
    hostile = Hostile(os.mkdir, str(trap))
    content = {
        "top": hostile,
        "labels": {"data": np.zeros((1, 3072), np.uint8), "labels": hostile},
        "object array": {"data": np.array([hostile, 1], dtype=object), "labels": [0]},
    }[where]
    write_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match=r"data_batch_3 .*mkdir is refused"):
        CIFAR10(root=tmp_path)
    assert not trap.exists()
    pickle.loads(path.read_bytes())
    assert trap.exists()  # the trap works: it is the reader that kept it from springing


@pytest.mark.parametrize("function", [eval, getattr, np.load, np.fromfile])
def test_functions_of_builtins_and_numpy_are_refused(tmp_path, function):
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(Hostile(function, "1")))
    with pytest.raises(ValueError, match="refused"):
        read_pickle(path)


def test_other_codecs_are_refused(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.")
    with pytest.raises(ValueError, match="rot13"):
        read_pickle(path)


def test_damaged_and_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data_batch_1(.|\n)*download=true(.|\n)*vit_digits"):
        CIFAR10(root=tmp_path)
    write_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    whole = path.read_bytes()
    for content in (whole[:1000], b"", pickle.dumps({"data": [1]}), pickle.dumps([1, 2])):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="test_batch"):
            CIFAR10(root=tmp_path, split="test", subset=True)
    path.write_bytes(pickle.dumps({"data": np.zeros((2, 3071), np.uint8), "labels": [0, 1]}))
    with pytest.raises(ValueError, match=r"expected uint8 \(2, 3072\)"):
        CIFAR10(root=tmp_path, split="test", subset=True)


def test_batches_of_the_wrong_kind_say_what_they_hold(tmp_path):
    write_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(pickle.dumps({"data": 1, "fine_labels": 2}))
    with pytest.raises(ValueError, match=r"test_batch .*expected .*labels, found data, fine"):
        CIFAR10(root=tmp_path, split="test", subset=True)
    for labels, problem in (
        ([0, 10], "labels 0 to 10"),
        ([0.5, 1.0], "whole numbers"),
        ([[0], [1]], "whole"),
    ):
        path.write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": labels}))
        with pytest.raises(ValueError, match=f"test_batch.*{problem}"):
            CIFAR10(root=tmp_path, split="test", subset=True)


def test_incomplete_sets_are_refused(tmp_path):
    write_cifar10(tmp_path)
    with pytest.raises(
        ValueError, match=r"CIFAR-10 train has 100 images, officially 50000.*data.subset=true"
    ):
        CIFAR10(root=tmp_path)
