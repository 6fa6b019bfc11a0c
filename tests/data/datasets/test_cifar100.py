import os
import pickle

import numpy as np
import pytest

from fovea.data.datasets.cifar100 import CIFAR100
from fovea.data.formats.unpickle import read_pickle
from helpers.formats_labels import COARSE, FINE, cifar100_pixels, python2_pickle, write_cifar100


def test_reads_images_and_fine_labels_with_the_names_of_meta(tmp_path):
    write_cifar100(tmp_path)
    for split, count, seed in (("train", 300, 5), ("test", 100, 6)):
        data = CIFAR100(root=tmp_path, split=split, subset=True)
        assert np.array_equal(data.images, cifar100_pixels(count, seed)) and data.images.flags.c_contiguous
        assert data.labels.tolist() == [i % 100 for i in range(count)]
        assert data.classes == FINE and len(FINE) == 100


def test_coarse_gives_the_superclasses(tmp_path):
    write_cifar100(tmp_path)
    data = CIFAR100(root=tmp_path, coarse=True, subset=True)
    assert data.labels.tolist() == [i % 100 // 5 for i in range(300)]
    assert data.classes == COARSE and len(COARSE) == 20


def test_agrees_with_torchvision(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR100 as Reference
    from torchvision.datasets import cifar

    write_cifar100(tmp_path)
    monkeypatch.setattr(cifar, "check_integrity", lambda path, md5: True)
    reference, data = Reference(tmp_path, train=False), CIFAR100(root=tmp_path, split="test", subset=True)
    assert np.array_equal(reference.data, data.images) and reference.targets == data.labels.tolist()
    assert reference.classes == data.classes


def test_the_fixture_is_a_pickle_of_python_2(tmp_path):
    write_cifar100(tmp_path)
    for name in ("train", "meta"):
        raw = (tmp_path / "cifar-100-python" / name).read_bytes()
        reference, mine = (
            pickle.loads(raw, encoding="latin1"),
            read_pickle(tmp_path / "cifar-100-python" / name),
        )
        assert raw[:2] == b"\x80\x02" and reference.keys() == mine.keys()
        assert all(np.array_equal(reference[key], mine[key]) for key in reference)
    assert pickle.loads(python2_pickle({"a": "x" * 300})) == {"a": "x" * 300}


class Hostile:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("name", ["train", "meta"])
def test_a_hostile_pickle_is_refused_unrun(tmp_path, name):
    trap = tmp_path / "trap"
    write_cifar100(tmp_path)
    path = tmp_path / "cifar-100-python" / name
    path.write_bytes(pickle.dumps({"fine_label_names": Hostile(os.mkdir, str(trap))}, protocol=2))
    with pytest.raises(ValueError, match=f"{name} .*mkdir is refused"):
        CIFAR100(root=tmp_path, subset=True)
    assert not trap.exists()
    pickle.loads(path.read_bytes())
    assert trap.exists()  # the trap works: it is the reader that kept it from springing


def test_what_is_missing_or_wrong_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"cifar-100-python/meta(.|\n)*download=true(.|\n)*vit_digits"
    ):
        CIFAR100(root=tmp_path)
    write_cifar100(tmp_path)
    with pytest.raises(ValueError, match=r"CIFAR-100 train has 300 images, officially 50000"):
        CIFAR100(root=tmp_path)
    folder = tmp_path / "cifar-100-python"
    batch = {"data": np.zeros((2, 3072), np.uint8), "coarse_labels": [0, 20], "fine_labels": [0, 100]}
    (folder / "test").write_bytes(python2_pickle(batch))
    for coarse, most in ((False, 99), (True, 19)):
        with pytest.raises(ValueError, match=f"test holds labels 0 to {most + 1}, expected 0 to {most}"):
            CIFAR100(root=tmp_path, split="test", coarse=coarse, subset=True)
    for names in (FINE[:99], [*FINE[:99], "apple"], "apple"):
        (folder / "meta").write_bytes(python2_pickle({"fine_label_names": names}))
        with pytest.raises(ValueError, match=r"meta: fine_label_names must list 100 different names"):
            CIFAR100(root=tmp_path, subset=True)
    (folder / "meta").write_bytes(python2_pickle({"label_names": FINE}))
    with pytest.raises(ValueError, match=r"meta .*expected coarse_.*, found label_names"):
        CIFAR100(root=tmp_path, coarse=True, subset=True)


def test_prepare_needs_all_three_files(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR100 as Official

    from fovea.data.datasets import cifar10

    calls = []
    monkeypatch.setattr(cifar10, "fetch", lambda urls, path, expected: calls.append((*urls, path, expected)))
    monkeypatch.setattr(cifar10, "extract", lambda archive, folder: calls.append((archive, folder)))
    write_cifar100(tmp_path)
    CIFAR100.prepare(root=tmp_path, coarse=True, download=True, subset=True)
    assert calls == []
    (tmp_path / "cifar-100-python" / "meta").unlink()
    CIFAR100.prepare(root=tmp_path)
    archive = tmp_path / "cifar-100-python.tar.gz"
    assert calls == [(Official.url, archive, Official.tgz_md5), (archive, tmp_path)]
