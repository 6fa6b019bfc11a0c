import numpy as np
import pytest

from fovea.data.datasets.lfw_gender import LFWGender
from helpers.formats_labels import write_lfw_attributes, write_lfw_gender, write_people
from helpers.real_formats import images, write_folder

PEOPLE = {"Ada_Lovelace": 3, "Émile_Zola": 2, "Mary_Curie": 1, "Alan_M_Turing": 2}
MALE = {"Ada_Lovelace": -1.25, "Émile_Zola": 0.5, "Mary_Curie": -0.01, "Alan_M_Turing": 2.0}


def people(root, attributes=True):
    folder = root / "lfw_gender"
    write_people(folder / "lfw", PEOPLE)
    scores = {(name, i): MALE[name] for name, number in PEOPLE.items() for i in range(1, number + 1)}
    if attributes:
        write_lfw_attributes(folder / "lfw_attributes.txt", scores)
    return folder, scores


@pytest.mark.parametrize("form", ["int", "column", "float", "one_hot"])
def test_the_arrays_of_the_lab(tmp_path, form):
    write_lfw_gender(tmp_path, form=form)
    assert LFWGender.find_splits(root=tmp_path, channels=3, download=False, subset=True) == ("train", "test")
    for split, count, seed in (("train", 30, 9), ("test", 8, 10)):
        data = LFWGender(root=tmp_path, split=split, subset=True)
        assert data.classes == ["female", "male"] and data.labels.tolist() == [i % 2 for i in range(count)]
        assert np.array_equal(data.images, images(count, (10, 10), 3, seed)) and data.groups is None
        assert data.load(1)["label"] == 1 and data.ids[1] == f"{split}/00001"


def test_labels_from_1_are_refused(tmp_path):
    write_lfw_gender(tmp_path, first=1)
    with pytest.raises(ValueError, match=r"y_train.npy holds labels 1 to 2, expected 0 to 1"):
        LFWGender(root=tmp_path, subset=True)


def test_class_folders(tmp_path, caplog):
    root = tmp_path / "lfw_gender"
    for split, names in (("train", {"a": 2, "b": 1}), ("test", {"c": 1})):
        write_folder(
            root / split, {f"{kind}/{name}": n for kind in ("female", "male") for name, n in names.items()}
        )
    train, test = (LFWGender(root=tmp_path, split=split, subset=True) for split in ("train", "test"))
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1] and test.labels.tolist() == [0, 1]
    assert train.ids[0] == "train/female/a/000.jpg" and train.load(5)["image"].shape == (20, 24, 3)
    assert train.groups is None  # these names do not end in a number of 4 digits
    assert not caplog.records


def test_file_names_of_lfw_tell_who_is_shown_and_leaks_are_told(tmp_path, caplog):
    root = tmp_path / "lfw_gender"
    write_people(root / "train" / "female", {"Ada_Lovelace": 2, "Mary_Curie": 1})
    write_people(root / "train" / "male", {"Alan_M_Turing": 2})
    write_people(root / "test" / "female", {"Mary_Shelley": 2})
    write_people(root / "test" / "male", {"Bob_0002": 1})
    train, test = (LFWGender(root=tmp_path, split=split, subset=True) for split in ("train", "test"))
    assert train.groups.tolist() == [0, 0, 2, 1, 1] and train.groups.dtype == np.int64
    assert test.groups.tolist() == [1, 1, 0] and not caplog.records
    write_people(root / "test" / "male", {"Alan_M_Turing": 3})
    LFWGender(root=tmp_path, split="test", subset=True)
    assert "1 people" in caplog.text


def test_all_of_lfw_with_attribute_scores(tmp_path):
    people(tmp_path)
    assert LFWGender.find_splits(root=tmp_path) == ("all",)
    data = LFWGender(root=tmp_path, split="all", subset=True)
    assert list(data.ids) == sorted(
        f"{name}/{name}_{i:04d}.jpg" for name, n in PEOPLE.items() for i in range(1, n + 1)
    )
    shown = [name.split("/")[0] for name in data.ids]
    assert data.labels.tolist() == [int(MALE[name] > 0) for name in shown]
    assert data.groups.dtype == np.int64 and len(set(data.groups)) == 4
    assert {(person, group) for person, group in zip(shown, data.groups, strict=True)} == {
        (person, shown_group) for shown_group, person in enumerate(sorted(PEOPLE))
    }
    assert data.load(0)["image"].shape == (25, 25, 3) and data.load(0)["label"] == 0
    assert (
        data.files(0)["image"] == tmp_path / "lfw_gender" / "lfw" / "Ada_Lovelace" / "Ada_Lovelace_0001.jpg"
    )


def test_lists_of_names_win_over_scores(tmp_path, caplog):
    folder, _ = people(tmp_path)
    (folder / "female_names.txt").write_text(
        "Ada_Lovelace_0001.jpg\r\n\r\nÉmile_Zola_0001.jpg\r\n", encoding="utf-8"
    )
    (folder / "male_names.txt").write_text("Alan_M_Turing/Alan_M_Turing_0002.jpg\nMary_Curie_0001\n")
    data = LFWGender(root=tmp_path, split="all", subset=True)
    found = {name.split("/")[1]: label for name, label in zip(data.ids, data.labels, strict=True)}
    assert found == {
        "Ada_Lovelace_0001.jpg": 0,
        "Émile_Zola_0001.jpg": 0,
        "Alan_M_Turing_0002.jpg": 1,
        "Mary_Curie_0001.jpg": 1,
    }
    assert "4 of 8" in caplog.text and len(set(data.groups)) == 4
    (folder / "male_names.txt").write_text("Ada_Lovelace_0001.jpg\n")
    with pytest.raises(
        ValueError, match=r"Ada_Lovelace_0001 is in both .*female_names.txt and male_names.txt"
    ):
        LFWGender(root=tmp_path, split="all", subset=True)
    (folder / "male_names.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"male_names.txt"):
        LFWGender(root=tmp_path, split="all", subset=True)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("Ada Lovelace\t1", "line 3"),
        ("Ada Lovelace\tone\t0.5", "line 3 has no person"),
        ("Ada Lovelace\t1\tnan", "line 3"),
        (
            "Ada Lovelace\t1\t0.5\nAda Lovelace\t1\t-0.5",
            "line 4 .*Ada_Lovelace_0001",
        ),
    ],
)
def test_wrong_scores_are_named_with_their_line(tmp_path, line, problem):
    folder, _ = people(tmp_path, attributes=False)
    path = folder / "lfw_attributes.txt"
    path.write_text(f"# scores\n#\tperson\timagenum\tMale\tAsian\n{line}\n")
    with pytest.raises(ValueError, match=f"lfw_attributes.txt {problem}"):
        LFWGender(root=tmp_path, split="all", subset=True)


def test_the_column_is_found_by_its_name(tmp_path):
    folder, _ = people(tmp_path, attributes=False)
    path = folder / "lfw_attributes.txt"
    path.write_text("#\tperson\timagenum\tAsian\tMale\nAda Lovelace\t2\t-3\t1e-3\n")
    data = LFWGender(root=tmp_path, split="all", subset=True)
    assert list(data.ids) == ["Ada_Lovelace/Ada_Lovelace_0002.jpg"] and data.labels.tolist() == [1]
    path.write_text("Ada Lovelace\t2\t-3\t1e-3\n")
    with pytest.raises(ValueError, match=r"lfw_attributes.txt .*person<TAB>imagenum<TAB>Male"):
        LFWGender(root=tmp_path, split="all", subset=True)
    path.write_text("#\tperson\timagenum\tMale\nSomebody Else\t1\t1\n")
    with pytest.raises(FileNotFoundError, match="labels"):
        LFWGender(root=tmp_path, split="all", subset=True)


def test_nothing_there_says_how_to_lay_it_out(tmp_path):
    for call in (LFWGender, LFWGender.prepare, LFWGender.find_splits):
        with pytest.raises(FileNotFoundError) as info:
            call(root=tmp_path)
        for part in (
            str(tmp_path / "lfw_gender" / "x_train.npy"),
            "lfw_attributes.txt",
            "{female,male}/*.jpg",
            "http://vis-www.cs.umass.edu/lfw/",
            "experiment=vit_digits",
        ):
            assert part in str(info.value)
        assert "data.download=true" not in str(info.value)
    people(tmp_path, attributes=False)
    with pytest.raises(FileNotFoundError, match=r"lfw_attributes.txt"):
        LFWGender(root=tmp_path, split="all")


def test_wrong_layouts_say_what_they_hold(tmp_path):
    for split in ("train", "test"):
        write_folder(tmp_path / "lfw_gender" / split, {"woman": 1, "man": 1})
    with pytest.raises(ValueError, match=r"train holds 2 folders \(man, woman\).*classes: female, male"):
        LFWGender(root=tmp_path, subset=True)
    write_lfw_gender(tmp_path)
    with pytest.raises(ValueError, match=r"x_train.npy and train"):
        LFWGender(root=tmp_path, subset=True)


def test_the_official_counts_are_demanded(tmp_path):
    write_lfw_gender(tmp_path / "lab")
    for split, found, official in (("train", 30, 10585), ("test", 8, 2648)):
        with pytest.raises(ValueError, match=f"LFW gender {split} has {found} images, officially {official}"):
            LFWGender(root=tmp_path / "lab", split=split)
    people(tmp_path)
    with pytest.raises(ValueError, match=r"all has 8 .* 13233"):
        LFWGender(root=tmp_path, split="all")
    with pytest.raises(ValueError, match=r"split='train'.* all"):
        LFWGender(root=tmp_path, split="train", subset=True)
