import numpy as np
import pytest
from real_formats import write_flowers102

from fovea.data.datasets.flowers102 import Flowers102


def test_follows_the_official_ids_and_labels(tmp_path):
    labels, ids = write_flowers102(tmp_path)
    for split, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        data = Flowers102(root=tmp_path, split=split)
        assert data.ids == [f"image_{n:05d}.jpg" for n in ids[key]]
        assert np.array_equal(data.labels, labels[ids[key] - 1].astype(int) - 1)
        assert sorted(set(data.labels)) == list(range(102)) and len(data.classes) == 102
    assert data.load(0)["image"].shape == (40, 50, 3)


def test_agrees_with_torchvision(tmp_path, monkeypatch):
    from torchvision.datasets import Flowers102 as Reference

    write_flowers102(tmp_path)
    monkeypatch.setattr(Reference, "_check_integrity", lambda self: True)
    reference, data = Reference(tmp_path, split="val"), Flowers102(root=tmp_path, split="val")
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
    with pytest.raises(FileNotFoundError, match=f"{name}. 1 of 102 images are missing"):
        Flowers102(root=tmp_path, split="train")
    Flowers102(root=tmp_path, split="val")
    (tmp_path / "flowers-102" / "setid.mat").write_bytes(b"MATLAB junk")
    with pytest.raises(ValueError, match=r"setid.mat"):
        Flowers102(root=tmp_path, split="val")
