import logging
import os

import numpy as np
import pytest

from fovea.data.datasets.photos import Photos
from helpers.formats_masks import SIZE, photo, write_photos
from helpers.real_formats import images
from helpers.unprivileged import unprivileged


def test_all_photos_below_a_folder_are_found_in_order(tmp_path, caplog):
    write_photos(tmp_path, count=4)
    (tmp_path / "2019" / "notes.txt").write_text("x")
    (tmp_path / ".thumbnails").mkdir()
    photo(tmp_path / ".thumbnails" / "000.jpg", images(1, SIZE)[0])
    photo(tmp_path / "loose.png", images(1, SIZE)[0])
    with caplog.at_level(logging.INFO):
        data = Photos(root=tmp_path)
    assert list(data.ids) == [
        "2019/001.jpg",
        "2019/003.jpg",
        "2020/May — Zürich/000.jpg",
        "2020/May — Zürich/002.jpg",
        "loose.png",
    ]
    assert "ignored 1 files" in caplog.text
    assert data.labels is None and data.classes == [] and data.targets == ()
    assert set(data.load(0)) == {"image"} and np.array_equal(data.load(4)["image"], images(1, SIZE)[0])
    assert Photos(root=tmp_path, channels=1).load(0)["image"].shape == (*SIZE, 1)
    assert data.files(0) == {"image": tmp_path / "2019" / "001.jpg"}


def test_split_folders_are_the_splits(tmp_path):
    for name, count in (("train", 3), ("Validation", 2), ("test", 1)):
        write_photos(tmp_path / name, count)
    assert Photos.find_splits(root=tmp_path) == ("train", "val", "test")
    assert [len(Photos(root=tmp_path, split=s)) for s in ("train", "val", "test")] == [3, 2, 1]
    assert Photos(root=tmp_path, split="val").ids[0] == "Validation/2019/001.jpg"
    with pytest.raises(ValueError, match="split='all' is unknown"):
        Photos(root=tmp_path)
    photo(tmp_path / "loose.jpg", images(1, SIZE)[0])
    assert Photos.find_splits(root=tmp_path) == ("all",) and len(Photos(root=tmp_path)) == 7


def test_links_never_lead_in_circles(tmp_path):
    write_photos(tmp_path / "a", count=2)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    write_photos(tmp_path / "elsewhere", count=2)
    (tmp_path / "a" / "more").symlink_to(tmp_path / "elsewhere" / "2019", target_is_directory=True)
    assert list(Photos(root=tmp_path / "a").ids) == [
        "2019/001.jpg",
        "2020/May — Zürich/000.jpg",
        "more/001.jpg",
    ]


def test_names_of_any_kind_survive(tmp_path):
    strange = os.fsdecode(b"caf\xe9.jpg")
    photo(tmp_path / "plain.jpg", images(1, SIZE)[0])
    for name in (strange, "é" * 100 + ".jpg", "line\nbreak.jpg"):
        os.link(tmp_path / "plain.jpg", tmp_path / name)
    data = Photos(root=tmp_path)
    assert len(data) == 4 and strange in list(data.ids)
    assert all(data.load(i)["image"].shape == (*SIZE, 3) for i in range(4))


def test_missing_empty_and_damaged_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere(.|\n)*data.root=DIR(.|\n)*experiment=vit_digits"):
        Photos(root=tmp_path / "nowhere")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"0 folders, 0 images .*1 other"):
        Photos(root=tmp_path / "text")
    (tmp_path / "text" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match=r"broken.jpg cannot be read"):
        Photos(root=tmp_path / "text").load(0)


def test_what_may_not_be_read_is_named(tmp_path):
    write_photos(tmp_path, count=2)
    (tmp_path / "2019" / "001.jpg").chmod(0)
    with unprivileged(tmp_path), pytest.raises(PermissionError, match=r"001.jpg"):
        Photos(root=tmp_path).load(0)
    (tmp_path / "2019").chmod(0)
    try:
        with unprivileged(tmp_path), pytest.raises(ValueError, match=r"2019 may not be read.*data\.root"):
            Photos(root=tmp_path)
    finally:
        (tmp_path / "2019").chmod(0o755)
