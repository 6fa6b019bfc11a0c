import functools

import numpy as np
import pytest
from PIL import Image

from fovea.inspect.findings import KINDS, SEVERITIES, Finding, by_kind, count, ordered
from fovea.inspect.splits import folder_of, open_each
from fovea.inspect.statistics import compare_normalisation, spread, summarise_all
from helpers.inspect_toys import Toy, kinds, look, toy, write


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, 24)
    return tmp_path


NAMES = [f"{i:02d}.png" for i in range(24)]
BOX = np.array([[2, 3, 42, 23]], dtype=np.float32)


def test_a_damaged_file_is_one_finding_and_stops_nothing(folder):
    (folder / "03.png").write_bytes((folder / "03.png").read_bytes()[:200])
    data = bytearray((folder / "05.png").read_bytes())
    data[60:200] = bytes(140)  # the marks of begin and end are there, the pixels are not
    (folder / "05.png").write_bytes(data)
    (folder / "07.png").write_bytes(b"")
    (folder / "09.png").unlink()
    findings, (records,) = look(toy(folder, NAMES))
    found = [(f.kind, f.file.rsplit("/", 1)[-1], f.index) for f in findings]
    assert found == [
        ("missing image", "09.png", 9), ("empty file", "07.png", 7), ("truncated", "03.png", 3),
        ("corrupt", "05.png", 5),
    ]  # fmt: skip
    assert len(records) == 24 and sum(record.size == (80, 64) for record in records) == 20


def test_annotations_that_cannot_be_read_are_named_and_their_images_still_compared(folder):
    Image.open(folder / "01.png").save(folder / "02.png")
    entries = {"02.png": ValueError("02.xml has no <object>: correct it"), "03.png": KeyError("bndbox")}
    findings, _ = look(toy(folder, NAMES, entries=entries, labels=[0] * 12 + [1] * 12))
    assert [(f.kind, f.file, f.message) for f in findings] == [
        ("bad annotation", "02.png", "02.xml has no <object>: correct it"),
        ("bad annotation", "03.png", "KeyError: 'bndbox'"),
        ("duplicate", "02.png", "the same pixels as train: 01.png"),
    ]


class Masks(Toy):
    """Masks beside the images."""

    def files(self, index):
        return {"image": self.paths[index], "mask": self.folder / "masks" / self.ids[index]}

    def annotate(self, index, image):
        path = self.files(index)["mask"]
        mask = np.asarray(Image.open(path))
        if mask.shape != image.shape[:2]:
            raise ValueError(f"{path} is of another size")
        return {"mask": mask}

    def extra_files(self):
        return [path for path in sorted((self.folder / "masks").iterdir()) if path.name not in self.ids]


def test_a_class_that_no_training_mask_holds(folder):
    (folder / "masks").mkdir()
    for i, name in enumerate(NAMES):  # what editors write for an object is what is ignored
        mask = np.zeros((64, 80), np.uint8)
        mask[: 10 + i, :20] = 255
        Image.fromarray(mask).save(folder / "masks" / name)
    part = toy(folder, NAMES)
    part.dataset = Masks(folder, NAMES, np.zeros(24))
    found = [(f.file, f.message) for f in look(part)[0] if f.kind == "class without pixels"]
    assert found == [("b", "0 pixels in 24 masks")]


def test_missing_extra_and_wrong_masks(folder):
    masks = folder / "masks"
    masks.mkdir()
    for name in NAMES:
        Image.fromarray(np.ones((64, 80), np.uint8)).save(masks / name)
    (masks / "01.png").unlink()
    Image.fromarray(np.ones((10, 80), np.uint8)).save(masks / "02.png")
    Image.fromarray(np.full((64, 80), 9, np.uint8)).save(masks / "03.png")
    (masks / "04.png").write_bytes((masks / "04.png").read_bytes()[:20])
    (masks / "99.png").touch()
    part = toy(folder, NAMES)
    part.dataset = Masks(folder, NAMES, np.arange(24) % 2)
    found = [(f.kind, f.file.rsplit("/", 1)[-1]) for f in look(part)[0]]
    assert found == [
        ("missing mask", "01.png"), ("truncated", "04.png"), ("bad mask", "02.png"), ("bad mask", "03.png"),
        ("extra file", "99.png"), ("class without pixels", "a"),
    ]  # fmt: skip


class Refusing(Toy):
    """Boxes that `load` refuses, as the readers of the suite do."""

    def raw_boxes(self, index):
        return np.array([[0, 0, 9, 9], [5, 5, 5, 9]] if index == 3 else BOX)

    def annotate(self, index, image):
        if index == 3:
            raise ValueError("03.xml has the box [5, 5, 5, 9], which has no area")
        return {"boxes": BOX, "labels": np.array([1])}


def test_the_boxes_of_a_refused_sample_are_named_once(folder):
    part = toy(folder, NAMES)
    part.dataset = Refusing(folder, NAMES, np.arange(24) % 2)
    found = [(f.kind, f.file, f.message) for f in look(part)[0]]
    assert found == [("box without area", "03.png", "(5, 5, 5, 9) in a 80×64 image")]


def test_classes_that_are_empty_rare_or_much_larger(folder):
    labels = [0] * 22 + [1] * 2
    found = [
        (f.kind, f.file, f.message)
        for f in look(toy(folder, NAMES, labels=labels, classes=["a", "b", "c"]))[0]
    ]
    assert found == [
        ("class without images", "c", "0 images"),
        ("rare class", "b", "2 images"),
        ("imbalance", "", "a has 22 images, b 2"),
    ]
    assert kinds(toy(folder, NAMES, labels=[0] * 14 + [1] * 10)) == []
    assert kinds(toy(folder, NAMES, labels=labels), complete=False) == []
    assert "bad label" in kinds(toy(folder, NAMES, labels=[0] * 12 + [1] * 11 + [5]))


def test_the_official_number_of_images(folder):
    part = toy(folder, NAMES, official={"train": 25, "val": 7})
    findings = look(part)[0]
    assert [(f.kind, f.message) for f in findings] == [("file count", "24 images, officially 25")]
    assert kinds(part, counted=False) == [] and kinds(part, complete=False) == []
    assert kinds(toy(folder, NAMES, official={"train": 24})) == []


def test_a_name_listed_twice(folder):
    found = kinds(toy(folder, [*NAMES, "03.png"], labels=[0, 1] * 12 + [1]))
    assert found == ["duplicate", "duplicate name"]


def test_small_and_long_images(folder):
    part = toy(folder, NAMES)
    findings = look(part, image_size=[64, 81])[0]
    assert [f.kind for f in findings] == ["small images"] and "24 of 24 images are smaller" in findings[
        0
    ].message
    assert kinds(part, image_size=[64, 80]) == []
    Image.open(folder / "00.png").resize((300, 60)).save(folder / "00.png")
    findings = look(part)[0]
    assert [f.kind for f in findings] == ["long images"] and "1 of 24" in findings[0].message


def test_normalisation_is_compared_with_the_training_images(tmp_path):
    names = write(tmp_path, 50)
    _, records = look(toy(tmp_path, names))
    measured = summarise_all([toy(tmp_path, names)], records)["train"]
    assert compare_normalisation(measured, {"mean": measured["mean"], "std": measured["std"]}) is None
    off = [measured["mean"][0] + 0.03, *measured["mean"][1:]]
    text = compare_normalisation(measured, {"mean": off, "std": measured["std"]})
    assert text is not None and f"{measured['mean'][0]:.4g}" in text
    assert compare_normalisation({**measured, "readable": 49}, {"mean": off, "std": measured["std"]}) is None
    assert kinds(toy(tmp_path, names), mean=off) == ["normalisation"]


def test_statistics_are_those_of_the_images(folder):
    entries = {
        name: {"boxes": BOX, "labels": np.array([1]), "captions": ["A cat, a dog.", "one"]}
        for name in NAMES[:6]
    }
    mask = np.zeros((64, 80), np.uint8)
    mask[:16], mask[32:] = 1, 255
    entries["00.png"]["mask"] = mask
    part = toy(folder, NAMES, entries=entries, labels=[0] * 10 + [1] * 14)
    _, records = look(part, side=64)
    found = summarise_all([part], records)["train"]
    pixels = np.stack([np.asarray(Image.open(folder / name)) for name in NAMES]) / 255
    assert np.allclose(found["mean"], pixels.mean((0, 1, 2)), atol=1e-4)
    assert np.allclose(found["std"], pixels.std((0, 1, 2)), atol=1e-4)
    assert found["classes"] == {"a": 10, "b": 14} and found["images"] == found["readable"] == 24
    assert found["sizes"]["width"]["max"] == 80 and found["sizes"]["aspect"]["median"] == 1.25
    assert found["boxes"]["objects"] == 6 and found["boxes"]["per_class"] == {"a": 0, "b": 6}
    assert found["boxes"]["side"]["median"] == pytest.approx(800**0.5, abs=1e-3)
    assert found["boxes"]["small_medium_large"] == [6, 0, 0]
    assert found["masks"] == {"share": {"a": 0.5, "b": 0.5}, "images": {"a": 1, "b": 1}, "ignored": 0.5}
    assert found["captions"]["words"]["max"] == 4 and found["captions"]["captions"] == 12
    assert found["captions"]["vocabulary"] == 4 and found["captions"]["seen_5_times"] == 4


@pytest.mark.parametrize("values", [[3], [0, 1, 1, 5], list(range(1000)), [0.1, 0.25, 2.5], [7.5, 7.5]])
def test_histograms_hold_every_value(values):
    histogram = spread(values)["histogram"]
    assert sum(histogram["counts"]) == len(values) and len(histogram["counts"]) <= 25
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1


class Broken(Toy):
    splits = ("train", "val")
    where = None

    def __init__(self, *, split, download=False):
        if split == "val":
            raise FileNotFoundError(
                f"toy not found: looked for {self.where}/val/list/names.txt.\n  or run offline: …"
            )
        super().__init__(self.where / "train", NAMES, np.arange(24) % 2, split=split)


def test_a_split_that_cannot_be_opened_does_not_stop_the_others(tmp_path, monkeypatch):
    write(tmp_path / "train")
    write(tmp_path / "val" / "pictures", 3, seed=5)
    monkeypatch.setattr(Broken, "where", tmp_path)
    parts, findings = open_each(functools.partial(Broken, download=True), channels=3, root=tmp_path)
    assert [(part.split, len(part)) for part in parts] == [("train", 24), ("val/", 3)]
    assert [(f.kind, f.split) for f in findings] == [("cannot open", "val")] and "names.txt" in findings[
        0
    ].message
    (tmp_path / "val" / "pictures" / "01.png").write_bytes(b"")
    assert [f.file for f in look(*parts)[0]] == [str(tmp_path / "val" / "pictures" / "01.png")]
    assert list(summarise_all(parts, look(*parts)[1])) == ["train"]


def test_where_nothing_can_be_opened_the_error_is_that_of_the_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(Broken, "where", tmp_path / "nowhere")
    monkeypatch.setattr(Broken, "splits", ("val",))
    with pytest.raises(FileNotFoundError, match="looked for"):
        open_each(Broken, channels=3, root=tmp_path / "nowhere")


def test_the_folder_of_an_error(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert folder_of(f"looked for {tmp_path}/a/b/c/d.txt.", tmp_path) == tmp_path / "a" / "b"
    assert folder_of(f"looked for {tmp_path}/x/y.txt", tmp_path) is None
    assert folder_of("something else", tmp_path) is None


def test_a_limit_is_a_fixed_choice(folder):
    part = toy(folder, NAMES)
    few = part.limited(5, seed=1)
    assert (
        len(few) == 5
        and few.name(0) in NAMES
        and np.array_equal(few.indices, part.limited(5, seed=1).indices)
    )
    assert (
        not np.array_equal(few.indices, part.limited(5, seed=2).indices)
        and part.limited(None, seed=0) is part
    )


def test_findings_are_ordered_by_severity():
    some = [Finding(kind, "train", "", "") for kind in reversed(KINDS)]
    severities = [SEVERITIES.index(f.severity) for f in ordered(some)]
    assert severities == sorted(severities) and list(by_kind(some)) == [f.kind for f in ordered(some)]
    assert sum(count(some).values()) == len(KINDS)
