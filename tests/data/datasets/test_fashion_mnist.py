import gzip

import numpy as np
import pytest

from fovea.data.datasets.fashion_mnist import FashionMNIST
from fovea.data.formats.idx import read_idx
from helpers.real_formats import images, write_fashion_mnist, write_idx


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_reads_what_the_format_holds(tmp_path, suffix):
    write_fashion_mnist(tmp_path, suffix=suffix)
    for split, count, seed in (("train", 60, 0), ("test", 20, 1)):
        data = FashionMNIST(root=tmp_path, split=split, subset=True)
        assert np.array_equal(data.images, images(count, (28, 28), 1, seed))
        assert data.labels.tolist() == [i % 10 for i in range(count)]
        assert data.load(3)["label"] == 3 and data.ids[3] == f"{split}/00003"


def test_agrees_with_torchvision(tmp_path):
    from torchvision.datasets import FashionMNIST as Reference

    write_fashion_mnist(tmp_path, suffix="")
    for split in FashionMNIST.splits:
        reference = Reference(tmp_path, train=split == "train")
        data = FashionMNIST(root=tmp_path, split=split, subset=True)
        assert np.array_equal(reference.data.numpy(), data.images[..., 0])
        assert np.array_equal(reference.targets.numpy(), data.labels)
        assert data.classes == reference.classes


def test_missing_files_say_what_where_how_and_what_instead(tmp_path):
    with pytest.raises(FileNotFoundError) as info:
        FashionMNIST(root=tmp_path)
    for part in (
        str(tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz"),
        "data.download=true",
        "github.com/zalandoresearch",
        "experiment=vit_digits",
    ):
        assert part in str(info.value)


def test_a_size_that_is_not_official_is_refused(tmp_path):
    write_fashion_mnist(tmp_path)
    for split, found, official in (("train", 60, 60000), ("test", 20, 10000)):
        with pytest.raises(
            ValueError, match=f"Fashion-MNIST {split} has {found} images, officially {official}"
        ):
            FashionMNIST(root=tmp_path, split=split)


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "a.gz"
    write_idx(path, np.zeros((2, 3, 3)))
    whole = path.read_bytes()
    plain = gzip.decompress(whole)
    for content in (
        whole[:-9],
        b"",
        gzip.compress(plain[:-1]),
        gzip.compress(plain + b"x"),
        b"\x1f\x8b junk",
        gzip.compress(plain[:4] + b"\xff" * 12 + plain[16:]),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a.gz"):
            read_idx(path, ndim=3)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="1 dimensions"):
        read_idx(path, ndim=1)


def test_labels_must_match_classes_and_images(tmp_path):
    write_fashion_mnist(tmp_path)
    path = tmp_path / "FashionMNIST" / "raw" / "train-labels-idx1-ubyte.gz"
    write_idx(path, np.full(60, 10))
    with pytest.raises(ValueError, match="labels 10 to 10"):
        FashionMNIST(root=tmp_path, subset=True)
    write_idx(path, np.zeros(59))
    with pytest.raises(ValueError, match="59 labels for 60 images"):
        FashionMNIST(root=tmp_path, subset=True)
