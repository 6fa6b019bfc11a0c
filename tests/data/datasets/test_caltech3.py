import numpy as np
import pytest
from PIL import Image

from fovea.data.datasets.caltech3 import Caltech3
from helpers.formats_boxes import write_caltech3, write_caltech101
from helpers.real_formats import images


@pytest.fixture(params=[write_caltech101, write_caltech3], ids=["original", "course"])
def data(request, tmp_path):
    request.param(tmp_path, counts=(4, 3, 2))
    return Caltech3(root=tmp_path, subset=True)


def test_both_layouts_give_the_same_boxes_labels_and_pixels(data):
    assert data.classes == ["airplane", "face", "motorcycle"] and len(data) == 9
    assert data.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    sample = data.load(2)
    assert set(sample) == {"image", *data.targets} == {"image", "label", "boxes", "labels"}
    # top 5, bottom 30, left 5, right 50, counted from 1 and inclusive
    assert sample["boxes"].tolist() == [[4, 4, 50, 30]] and sample["boxes"].dtype == np.float32
    assert sample["labels"].tolist() == [0] and sample["labels"].dtype == np.int64
    assert data.load(8)["label"] == 2 and data.load(8)["labels"].tolist() == [2]
    truth = images(4, (40, 60), seed=0)[2].astype(int)
    assert np.abs(sample["image"].astype(int) - truth).mean() < 4
    assert data.ids[2].endswith("image_0003.jpg") and data.paths[2].is_file()


def test_a_box_beyond_the_image_is_cut_but_kept_raw(tmp_path):
    write_caltech101(tmp_path, size=(20, 45))
    data = Caltech3(root=tmp_path, subset=True)
    assert data.load(0)["boxes"].tolist() == [[4, 2, 45, 20]]
    assert data.raw_boxes(0).tolist() == [[4, 2, 50, 30]] and data.raw_boxes(0).dtype == np.float32


def test_files_and_what_belongs_to_no_image(data, tmp_path):
    files = data.files(5)
    assert all(path.is_file() for path in files.values())
    assert data.extra_files() == []
    if "caltech101" in str(files["image"]):
        assert files["annotation"].parts[-2:] == ("Faces_2", "annotation_0002.mat")
        stray = files["annotation"].with_name("annotation_0099.mat")
        stray.write_bytes(b"")
    else:
        assert set(files) == {"image"}  # not the table of all boxes
        stray = files["image"].with_name("image_0099.jpg")
        Image.new("RGB", (4, 4)).save(stray)
    assert Caltech3(root=tmp_path, subset=True).extra_files() == [stray]


def test_the_course_table_may_have_a_header_and_no_label(tmp_path):
    base = write_caltech3(tmp_path, header=True, label=False)
    table = base / "annotations" / "face.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    data = Caltech3(root=tmp_path, subset=True)
    assert len(data) == 27 and data.raw_boxes(9).tolist() == [[4, 2, 50, 30]]


def test_a_wrong_count_is_refused_unless_a_subset_is_wanted(tmp_path):
    write_caltech101(tmp_path)
    with pytest.raises(ValueError, match="27 images, officially 2033"):
        Caltech3(root=tmp_path)
    with pytest.raises(ValueError, match="split='train' is unknown"):
        Caltech3(root=tmp_path, split="train", subset=True)


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"101_ObjectCategories(.|\n)*caltech3/images(.|\n)*data\.download=true"
    ):
        Caltech3(root=tmp_path)
    base = write_caltech101(tmp_path, counts=(3, 3, 3))
    mat = base / "Annotations" / "Faces_2" / "annotation_0001.mat"
    content = mat.read_bytes()
    mat.unlink()
    with pytest.raises(FileNotFoundError, match=r"annotation_0001\.mat"):
        Caltech3(root=tmp_path, subset=True).load(3)
    mat.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"Faces_2/annotation_0001\.mat is .*MATLAB"):
        Caltech3(root=tmp_path, subset=True).load(3)
    (base / "Annotations").rename(base / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"Annotations\.tar"):
        Caltech3(root=tmp_path, subset=True)


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("image_0001.jpg,5,x,50,30", ValueError, r"face\.csv, line 1: expected filename,startX"),
        ("image_0001.jpg,5,6", ValueError, r"face\.csv, line 1"),
        (
            "image_0077.jpg,5,6,7,8",
            FileNotFoundError,
            r"image_0077\.jpg(.|\n)*Line 1 of .*face\.csv names it",
        ),
    ],
)
def test_a_bad_line_of_the_course_table_is_named(tmp_path, line, error, message):
    base = write_caltech3(tmp_path)
    (base / "annotations" / "face.csv").write_text(line + "\n")
    with pytest.raises(error, match=message):
        Caltech3(root=tmp_path, subset=True)


def test_a_box_without_area_is_refused_where_it_is_used(tmp_path):
    base = write_caltech3(tmp_path)
    (base / "annotations" / "face.csv").write_text("image_0001.jpg,50,6,20,8\n")
    data = Caltech3(root=tmp_path, subset=True)
    assert data.raw_boxes(9).tolist() == [[49, 5, 20, 8]]
    with pytest.raises(ValueError, match=r"face\.csv has the box"):
        data.load(9)


def test_download_unpacks_the_archives_within_the_archive(tmp_path, monkeypatch):
    import tarfile
    import zipfile

    from fovea.data.datasets import caltech3
    from fovea.data.fetch import download as module

    base = write_caltech101(tmp_path / "source", counts=(3, 3, 3))
    inner = {"101_ObjectCategories.tar.gz": "w:gz", "Annotations.tar": "w"}
    archive = tmp_path / "official.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name, mode in inner.items():
            with tarfile.open(tmp_path / name, mode) as tar:
                tar.add(base / name.partition(".")[0], arcname=name.partition(".")[0])
            file.write(tmp_path / name, f"caltech-101/{name}")
        file.writestr("__MACOSX/caltech-101/._Annotations.tar", b"x")
    asked = []

    def fetch(urls, path, *, expected):
        asked.append((urls, expected))
        path.write_bytes(archive.read_bytes())

    monkeypatch.setattr(module, "fetch", fetch)
    root = tmp_path / "root"
    data = Caltech3(root=root, download=True, subset=True)
    assert len(data) == 9 and data.load(4)["boxes"].tolist() == [[4, 3, 50, 30]]
    assert asked == [([caltech3.URL], caltech3.MD5)]
    assert sorted(path.name for path in (root / "caltech101").iterdir()) == [
        "101_ObjectCategories",
        "Annotations",
    ]
    Caltech3.prepare(root=root)
    assert len(asked) == 1
