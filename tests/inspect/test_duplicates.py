import time

import cv2
import numpy as np
import pytest
from PIL import Image

from fovea.data.datasets.digits import Digits
from fovea.inspect import hashes
from fovea.inspect.duplicates import WINDOW, near_pairs
from fovea.inspect.splits import SplitPart
from helpers.inspect_toys import kinds, look, textures, toy, write

COPIES = {
    "encoded again": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [1, 40])[1], cv2.IMREAD_COLOR),
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "enlarged": lambda image: cv2.resize(image, None, fx=1.7, fy=1.7, interpolation=cv2.INTER_CUBIC),
    "3 % brighter": lambda image: np.clip(image * 1.03, 0, 255).astype(np.uint8),
}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, 24)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_clean_set_has_no_finding(folder):
    write(folder, 12, prefix="v", seed=1)
    train, val = ([n for n in names(folder) if n.startswith("v") == val] for val in (False, True))
    assert kinds(toy(folder, train), toy(folder, val, split="val")) == []


def test_equal_images_inside_and_across_splits(folder):
    Image.open(folder / "03.png").save(folder / "again.bmp")  # the pixels count, not the bytes
    Image.open(folder / "04.png").save(folder / "leak.png")
    train = toy(folder, [n for n in names(folder) if n != "leak.png"], labels=[0, 1] * 12 + [1])
    findings, _ = look(train, toy(folder, ["leak.png"], split="test", labels=[0]))
    assert {(f.kind, f.split, f.file, f.severity) for f in findings} == {
        ("duplicate", "train", "again.bmp", "warning"),
        ("leakage", "test", "leak.png", "error"),
    }
    leak = next(f for f in findings if f.kind == "leakage")
    assert leak.partner == ("train", 4) and "train: 04.png" in leak.message


def test_equal_images_with_other_labels_conflict(folder):
    Image.open(folder / "03.png").save(folder / "again.png")
    findings, _ = look(toy(folder, names(folder), labels=[0, 1] * 12 + [0]))
    conflict = [f for f in findings if f.kind == "label conflict"]
    assert len(conflict) == 1 and conflict[0].severity == "error"
    assert conflict[0].message == "labelled a, but train: 03.png with the same pixels is b"


@pytest.mark.parametrize("how", COPIES)
def test_changed_copies_are_near_duplicates(folder, how):
    for number in range(12):
        changed = COPIES[how](np.asarray(Image.open(folder / f"{number:02d}.png")))
        Image.fromarray(changed).save(folder / f"{'x' if number % 2 else 'y'}{number:02d}.png")
    listed = names(folder)
    leaks = [n for n in listed if n.startswith("y")]
    findings, _ = look(toy(folder, [n for n in listed if n not in leaks]), toy(folder, leaks, split="test"))
    pairs = {(f.kind, f.file[1:], f.message.split()[-1]) for f in findings if f.kind.startswith("near")}
    inside = {("near duplicate", f"{n:02d}.png", f"{n:02d}.png") for n in range(1, 12, 2)}
    assert pairs == inside | {("near leakage", f"{n:02d}.png", f"{n:02d}.png") for n in range(0, 12, 2)}


def test_flat_images_are_not_alike(tmp_path):
    for grey in range(40, 140, 5):
        noise = np.random.default_rng(grey).integers(-2, 3, (64, 64, 3))
        Image.fromarray((grey + noise).astype(np.uint8)).save(tmp_path / f"{grey:03d}.png")
    assert not [k for k in kinds(toy(tmp_path, names(tmp_path))) if k.startswith("near")]


def test_near_pairs_are_those_of_comparing_all():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**60, 300, dtype=np.uint64)
    copies = base.copy()
    for row in range(300):
        for bit in rng.choice(60, row % 8, replace=False):
            copies[row] ^= np.uint64(1 << int(bit))
    both = np.concatenate([base, copies])
    found, bits = near_pairs(both, distance=4)
    distances = np.bitwise_count(both[:, None] ^ both[None])
    expected = np.argwhere(np.triu(distances <= 4, 1))
    assert len(expected) >= 150 and np.array_equal(found, expected)
    assert np.array_equal(bits, distances[expected[:, 0], expected[:, 1]])


@pytest.mark.slow
@pytest.mark.alone
def test_the_search_is_not_quadratic():
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    near_pairs(rng.integers(0, 2**60, 200_000, dtype=np.uint64), distance=4)
    assert time.perf_counter() - start < 10  # comparing all pairs would take minutes
    pairs, _ = near_pairs(np.zeros(5000, dtype=np.uint64), distance=4)  # the worst case: one bucket
    assert len(pairs) <= 5000 * WINDOW


def test_no_images_and_one_image(tmp_path):
    assert near_pairs(np.zeros(0, np.uint64), distance=4)[0].shape == (0, 2)
    write(tmp_path, 1)
    assert kinds(toy(tmp_path, ["00.png"]), complete=False) == []


def test_digits_are_too_small_to_be_near():
    data = Digits()
    part = SplitPart("train", data, np.arange(len(data)))
    findings, records = look(part, image_size=[28, 28], mean=[0.1307], std=[0.3081])
    assert [f.kind for f in findings] == ["similar images"] and "28 pixels" in findings[0].message
    assert len({record.digest for record in records[0]}) == 5000


def test_thumbnails_of_other_images_are_not_alike():
    thumbs = np.stack([hashes.thumbnail(image) for image in textures(40)])
    first, second = np.triu_indices(40, 1)
    assert not hashes.alike(thumbs[first], thumbs[second]).any()
    assert hashes.alike(thumbs, np.clip(thumbs * 1.05, 0, 255).astype(np.uint8)).all()
    assert not hashes.alike(thumbs, thumbs[:, :, ::-1]).any()


def test_digest_tells_shape_and_pixels():
    image = textures(1)[0]
    other = image.copy()
    other[0, 0, 0] ^= 1
    assert len({hashes.digest(x) for x in (image, other, image.reshape(80, 64, 3))}) == 3
    assert hashes.digest(image) == hashes.digest(np.asfortranarray(image))
