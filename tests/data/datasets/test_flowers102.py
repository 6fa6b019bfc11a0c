import numpy as np
import pytest
from scipy.io import savemat

from fovea.data.datasets.flowers102 import Flowers102
from helpers.real_formats import write_flowers102


def test_follows_the_official_ids_and_labels(tmp_path):
    labels, ids = write_flowers102(tmp_path)
    for split, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        data = Flowers102(root=tmp_path, split=split, subset=True)
        assert list(data.ids) == [f"image_{n:05d}.jpg" for n in ids[key]]
        assert np.array_equal(data.labels, labels[ids[key] - 1].astype(int) - 1)
        assert sorted(set(data.labels)) == list(range(102)) and len(data.classes) == 102
    assert data.load(0)["image"].shape == (40, 50, 3)


def test_agrees_with_torchvision(tmp_path, monkeypatch):
    from torchvision.datasets import Flowers102 as Reference

    write_flowers102(tmp_path)
    monkeypatch.setattr(Reference, "_check_integrity", lambda self: True)
    reference, data = Reference(tmp_path, split="val"), Flowers102(root=tmp_path, split="val", subset=True)
    for index in (0, 50, 101):
        image, label = reference[index]
        assert np.array_equal(np.asarray(image), data.load(index)["image"])
        assert label == data.load(index)["label"]


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"imagelabels.mat(.|\n)*download=true(.|\n)*robots.ox.ac.uk"):
        Flowers102(root=tmp_path)
    _, ids = write_flowers102(tmp_path)
    name = f"image_{ids['trnid'][5]:05d}.jpg"
    (tmp_path / "flowers-102" / "jpg" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}. 1 of 102"):
        Flowers102(root=tmp_path, split="train")
    assert len(Flowers102(root=tmp_path, split="train", subset=True)) == 101
    with pytest.raises(ValueError, match="Flowers-102 val has 102 images, officially 1020"):
        Flowers102(root=tmp_path, split="val")
    (tmp_path / "flowers-102" / "setid.mat").write_bytes(b"MATLAB junk")
    with pytest.raises(ValueError, match=r"setid.mat"):
        Flowers102(root=tmp_path, split="val")


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        ([0, 1], "0 to 1, .*306"),
        ([1, 307], "1 to 307"),
        ([4, 9, 4], "names image 4 2 times"),
    ],
)
def test_numbers_of_no_image_or_twice_the_same_are_named(tmp_path, numbers, problem):
    write_flowers102(tmp_path)
    ids = np.array(numbers, dtype=np.uint16)[None]
    savemat(tmp_path / "flowers-102" / "setid.mat", {"trnid": ids})
    with pytest.raises(ValueError, match=f"setid.mat: trnid .*{problem}"):
        Flowers102(root=tmp_path, subset=True)
    with pytest.raises(ValueError, match=r"setid.mat .*'tstid'"):
        Flowers102(root=tmp_path, split="test", subset=True)


def test_labels_out_of_range_are_named(tmp_path):
    write_flowers102(tmp_path)
    savemat(tmp_path / "flowers-102" / "imagelabels.mat", {"labels": np.full((1, 306), 103, np.uint8)})
    with pytest.raises(ValueError, match=r"imagelabels.mat holds labels 102 to 102, expected 0 to 101"):
        Flowers102(root=tmp_path, subset=True)
