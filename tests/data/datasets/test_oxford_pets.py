import tarfile

import numpy as np
import pytest
from PIL import Image

from fovea.data.datasets.oxford_pets import BREEDS, OxfordPets
from fovea.data.fetch import download
from helpers.formats_masks import SIZE, photo, trimap, write_pets
from helpers.real_formats import images


def pets(root, **options):
    return OxfordPets(**{"root": root, "subset": True, **options})


def test_the_lists_decide_about_splits_and_breeds(tmp_path):
    folder = write_pets(tmp_path)
    for split, file in (("train", "trainval"), ("test", "test")):
        data = pets(tmp_path, split=split)
        rows = [line.split() for line in (folder / "annotations" / f"{file}.txt").read_text().splitlines()]
        assert list(data.ids) == [f"{row[0]}.jpg" for row in rows]
        assert data.labels.tolist() == [int(row[1]) - 1 for row in rows] and data.labels.dtype == np.int64
    assert not set(pets(tmp_path, split="train").ids) & set(pets(tmp_path, split="test").ids)
    assert len(data.classes) == 37 and data.classes[1:3] == ["American Bulldog", "American Pit Bull Terrier"]
    assert data.targets == ("label",) and set(data.load(0)) == {"image", "label"}
    assert pets(tmp_path, channels=1).load(0)["image"].shape == (*SIZE, 1)


def test_agrees_with_torchvision(tmp_path):
    from torchvision.datasets import OxfordIIITPet as Reference

    write_pets(tmp_path)
    for split, theirs in (("train", "trainval"), ("test", "test")):
        reference = Reference(tmp_path, split=theirs, target_types=["category", "segmentation"])
        breeds, outlines = pets(tmp_path, split=split), pets(tmp_path, split=split, annotation="trimap")
        assert breeds.classes == reference.classes and len(breeds) == len(reference)
        for index in (0, 50, 110):
            image, (label, mask) = reference[index]
            assert np.array_equal(np.asarray(image), breeds.load(index)["image"])
            assert label == breeds.load(index)["label"]
            meaning = np.array([0, 1, 0, 255])  # 1 pet, 2 background, 3 border
            assert np.array_equal(meaning[np.asarray(mask)], outlines.load(index)["mask"])


def test_cats_are_the_twelve_breeds_of_species_1(tmp_path):
    folder = write_pets(tmp_path)
    data = pets(tmp_path, animals="cats")
    rows = [line.split() for line in (folder / "annotations" / "trainval.txt").read_text().splitlines()]
    cats = [row for row in rows if row[2] == "1"]
    assert list(data.ids) == [f"{row[0]}.jpg" for row in cats] and len(data.classes) == 12
    assert data.classes[0] == "Abyssinian" and data.classes[-1] == "Sphynx"
    names = [data.classes[label].replace(" ", "_") for label in data.labels]
    assert names == [row[0].rpartition("_")[0] for row in cats]
    (folder / "images" / "beagle_1.jpg").unlink()  # dogs need not be there
    assert len(pets(tmp_path, animals="cats")) == len(data)


def test_trimaps_become_masks_with_the_border_ignored_or_a_class(tmp_path):
    write_pets(tmp_path, per_breed=1)
    data = pets(tmp_path, annotation="trimap")
    index = list(data.ids).index("Abyssinian_1.jpg")
    wanted = np.array([9, 1, 0, 255])[trimap(0)]
    assert data.classes == ["background", "pet"] and data.targets == ("mask",) and data.labels is None
    assert np.array_equal(data.load(index)["mask"], wanted) and set(np.unique(wanted)) == {0, 1, 255}
    three = pets(tmp_path, annotation="trimap", border_class=True)
    assert three.classes == ["background", "pet", "border"]
    assert np.array_equal(three.load(index)["mask"], np.array([9, 1, 0, 2])[trimap(0)])
    assert data.files(index) == {
        "image": tmp_path / "oxford-iiit-pet/images/Abyssinian_1.jpg",
        "mask": tmp_path / "oxford-iiit-pet/annotations/trimaps/Abyssinian_1.png",
    }


def test_bad_trimaps_are_named(tmp_path):
    folder = write_pets(tmp_path, per_breed=1)
    data = pets(tmp_path, annotation="trimap")
    index, path = list(data.ids).index("beagle_1.jpg"), folder / "annotations" / "trimaps" / "beagle_1.png"
    for value in (0, 4):
        mask = trimap(0)
        mask[5, 7] = value
        photo(path, mask)
        with pytest.raises(ValueError, match=f"beagle_1.png has the value {value} at x=7, y=5"):
            data.load(index)
    photo(path, trimap(0, size=(24, 30)))
    with pytest.raises(ValueError, match=r"beagle_1.png .*30×24.*32×24"):
        data.load(index)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"beagle_1.png. 1 of 37"):
        pets(tmp_path, annotation="trimap")
    assert len(pets(tmp_path)) == 37


def test_files_that_belong_to_nothing_are_listed(tmp_path):
    folder = write_pets(tmp_path, per_breed=1)
    data = pets(tmp_path, annotation="trimap")
    assert data.extra_files() == []
    photo(folder / "images" / "Abyssinian_999.jpg", images(1, SIZE)[0])
    photo(folder / "annotations" / "trimaps" / "Bengal_999.png", trimap(0))
    assert [path.name for path in data.extra_files()] == ["Abyssinian_999.jpg", "Bengal_999.png"]


def test_images_that_are_png_or_gif_by_another_name_are_read(tmp_path):
    folder = write_pets(tmp_path, per_breed=1)
    data, pixels = pets(tmp_path), images(1, SIZE)[0]
    path = folder / "images" / data.ids[3]
    Image.fromarray(pixels).save(path, format="PNG")
    assert np.array_equal(data.load(3)["image"], pixels)
    Image.fromarray(pixels).save(path, format="GIF")
    assert np.abs(data.load(3)["image"].astype(int) - pixels).mean() < 6


def test_the_official_counts_are_asked_for(tmp_path):
    write_pets(tmp_path, per_breed=1)
    with pytest.raises(ValueError, match=r"train has 37 images, officially 3680(.|\n)*subset=true"):
        OxfordPets(root=tmp_path)
    with pytest.raises(ValueError, match=r"test has 12 images, officially 1183"):
        OxfordPets(root=tmp_path, split="test", animals="cats")


def test_missing_images_are_told_or_left_out(tmp_path):
    folder = write_pets(tmp_path, per_breed=1)
    (folder / "images" / "pug_1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"images/pug_1.jpg. 1 of 37"):
        OxfordPets(root=tmp_path)
    data = pets(tmp_path)
    assert len(data) == 36 and "pug_1.jpg" not in list(data.ids)
    assert [data.classes[k].replace(" ", "_").lower() for k in data.labels] == [
        name.rpartition("_")[0].lower() for name in data.ids
    ]
    with pytest.raises(
        FileNotFoundError, match=r"trainval.txt(.|\n)*data.download=true(.|\n)*robots.ox.ac.uk"
    ):
        pets(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("Abyssinian_7 38 1 1", "is not `name breed"),
        ("Abyssinian_7 1 1", "is not `name breed"),
        ("Abyssinian_7 x 1 1", "is not `name breed"),
        ("Abyssinian_7 2 1 1", "american_bulldog"),
        ("Abyssinian_1 1 1 1", "Abyssinian_1 .*twice"),
    ],
)
def test_a_damaged_list_is_named_with_the_line(tmp_path, line, problem):
    folder = write_pets(tmp_path, per_breed=1)
    path = folder / "annotations" / "trainval.txt"
    path.write_text(path.read_text() + f"# a remark\n\n{line}\n")
    with pytest.raises(ValueError, match=f"trainval.txt, line 40: .*{problem}"):
        pets(tmp_path)


def test_options_are_checked(tmp_path):
    for wrong in ({"annotation": "boxes"}, {"animals": "dogs"}, {"split": "val"}):
        with pytest.raises(ValueError, match=next(iter(wrong.values()))):
            pets(tmp_path, **wrong)


def test_downloads_what_is_missing_once(tmp_path, monkeypatch):
    source, target = write_pets(tmp_path / "source", per_breed=1), tmp_path / "data"
    asked = []

    def fetch(urls, path, *, expected):
        asked.append((urls[0], expected))
        part = path.name.removesuffix(".tar.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w:gz") as tar:
            tar.add(source / part, arcname=part)

    monkeypatch.setattr("fovea.data.fetch.download.fetch", fetch)
    assert len(pets(target, download=True, annotation="trimap")) == 37
    assert [url.rsplit("/", 1)[1] for url, _ in asked] == ["images.tar.gz", "annotations.tar.gz"]
    assert asked[0][1] == "5c4f3ee8e5d25df40f4fd59a7f44e54c" and not list(target.rglob("*.tar.gz"))
    pets(target, download=True)
    assert len(asked) == 2
    (target / "oxford-iiit-pet" / "images" / "pug_1.jpg").unlink()
    pets(target, download=True)
    assert len(asked) == 3 and (target / "oxford-iiit-pet" / "images" / "pug_1.jpg").is_file()


def test_a_failed_download_is_told(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(download, "_receive", offline)
    with pytest.raises(FileNotFoundError, match=r"no route to host(.|\n)*experiment=vit_digits"):
        pets(tmp_path, download=True)


def test_there_are_37_breeds_of_which_12_are_cats():
    assert len(set(BREEDS)) == 37 and sum(breed[0].isupper() for breed in BREEDS) == 12
    assert sorted(BREEDS, key=str.lower) == BREEDS
