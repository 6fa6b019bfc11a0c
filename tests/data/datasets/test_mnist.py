import numpy as np
import pytest

from fovea.data.datasets.mnist import MNIST
from helpers.formats_labels import write_mnist
from helpers.real_formats import images, write_fashion_mnist, write_idx


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_reads_what_the_format_holds(tmp_path, suffix):
    write_mnist(tmp_path, suffix=suffix)
    for split, count, seed in (("train", 60, 2), ("test", 20, 3)):
        data = MNIST(root=tmp_path, split=split, subset=True)
        assert np.array_equal(data.images, images(count, (28, 28), 1, seed))
        assert data.labels.tolist() == [i % 10 for i in range(count)]
        assert data.load(7)["label"] == 7 and data.ids[7] == f"{split}/00007"
        assert data.classes == list("0123456789")


def test_agrees_with_torchvision(tmp_path):
    from torchvision.datasets import MNIST as Reference

    write_mnist(tmp_path, suffix="")
    for split in MNIST.splits:
        reference = Reference(tmp_path, train=split == "train")
        data = MNIST(root=tmp_path, split=split, subset=True)
        assert np.array_equal(reference.data.numpy(), data.images[..., 0])
        assert np.array_equal(reference.targets.numpy(), data.labels)


def test_the_files_of_fashion_mnist_are_not_taken_for_it(tmp_path):
    write_fashion_mnist(tmp_path)
    with pytest.raises(FileNotFoundError) as info:
        MNIST(root=tmp_path)
    for part in (
        "MNIST not found: looked for " + str(tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"),
        "holds FashionMNIST/",
        "data.download=true",
        "https://",
        "experiment=vit_digits",
    ):
        assert part in str(info.value)


def test_incomplete_sets_and_other_sizes_are_refused(tmp_path):
    write_mnist(tmp_path)
    with pytest.raises(ValueError, match=r"MNIST test has 20 images, officially 10000.*data.subset=true"):
        MNIST(root=tmp_path, split="test")
    write_idx(tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz", np.zeros((60, 20, 28)))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz .*\(20, 28\)"):
        MNIST(root=tmp_path, subset=True)
    with pytest.raises(ValueError, match="split='val' is unknown"):
        MNIST(root=tmp_path, split="val")


def test_prepare_fetches_what_is_missing_with_the_published_checksums(tmp_path, monkeypatch):
    from torchvision.datasets import MNIST as Official

    from fovea.data.datasets import mnist

    calls = []
    monkeypatch.setattr(mnist, "fetch", lambda urls, path, expected: calls.append((urls, path, expected)))
    write_mnist(tmp_path)
    MNIST.prepare(root=tmp_path, download=True, subset=True)
    assert calls == []
    gone = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    gone.unlink()
    MNIST.prepare(root=tmp_path)
    assert calls == [([m + gone.name for m in Official.mirrors], gone, dict(Official.resources)[gone.name])]
