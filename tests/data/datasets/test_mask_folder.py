"""One's own images and masks, in each of the ways that people code them."""

import numpy as np
import pytest
from PIL import Image

from fovea.data.datasets.mask_folder import MaskFolder
from fovea.ops.mask_losses import CrossEntropy, Focal
from fovea.tasks.segmentation.task import balanced_weights

COLOURS = [[0, 0, 0], [255, 0, 0], [0, 128, 0]]


def write(folder, count=6, *, mask, size=(8, 10)):
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(np.full((*size, 3), 40 * i, np.uint8)).save(folder / "images" / f"{i}.jpg")
        truth = np.zeros(size, np.uint8)
        truth[2:5, i : i + 3] = 1
        mask(truth).save(folder / "masks" / f"{i}.png")


def coloured(truth):
    return Image.fromarray(np.uint8(COLOURS)[truth])


def palette(truth):
    image = Image.fromarray(truth).convert("P")
    image.putpalette([v for colour in COLOURS for v in colour])
    image.putdata(truth.ravel().tolist())
    return image


@pytest.mark.parametrize(
    ("mask", "options"),
    [
        (Image.fromarray, {}),
        (lambda truth: Image.fromarray(truth * 255), {"mask_255": "object"}),
        (lambda truth: Image.fromarray(truth.astype(np.uint16) * 65535), {"mask_255": "object"}),
        (
            lambda truth: Image.fromarray(np.uint8(COLOURS)[truth]),
            {"colours": COLOURS, "classes": list("abc")},
        ),
        (palette, {}),
    ],
)
def test_each_way_to_code_a_mask_gives_the_same_classes(tmp_path, mask, options):
    write(tmp_path, mask=mask)
    data = MaskFolder(root=tmp_path, **options)
    for i in range(len(data)):
        found = data.load(i)["mask"]
        assert found.sum() == 9 and found[2:5, i : i + 3].all()


def test_255_of_two_classes_is_asked_for(tmp_path):
    write(tmp_path, mask=lambda truth: Image.fromarray(truth * 255))
    with pytest.raises(ValueError, match=r"0\.png.*data\.dataset\.mask_255=object.*mask_255=ignore"):
        MaskFolder(root=tmp_path).load(0)
    assert set(np.unique(MaskFolder(root=tmp_path, mask_255="ignore").load(0)["mask"])) == {0, 255}
    for wrong, classes in (("white", "ab"), ("object", "abc")):
        with pytest.raises(ValueError, match="mask_255"):
            MaskFolder(root=tmp_path, mask_255=wrong, classes=list(classes))


def test_what_does_not_go_together_is_named(tmp_path):
    write(tmp_path, mask=Image.fromarray)
    Image.new("L", (4, 4)).save(tmp_path / "masks" / "0.png")
    with pytest.raises(ValueError, match=r"0\.png is 4×4.*10×8"):
        MaskFolder(root=tmp_path).load(0)
    (tmp_path / "masks" / "0.png").unlink()
    (tmp_path / "images" / "1.jpg").unlink()
    with pytest.raises(ValueError, match=r"without mask \(0\.jpg\) and 1 mask without image \(1\.png\)"):
        MaskFolder(root=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data\.root=DIR"):
        MaskFolder(root=tmp_path / "images")


def test_splits_are_folders_of_their_own(tmp_path):
    for split, count in (("train", 4), ("validation", 2)):
        write(tmp_path / split, count, mask=Image.fromarray)
    assert MaskFolder.find_splits(root=tmp_path) == ("train", "val")
    assert len(MaskFolder(root=tmp_path, split="val")) == 2


def test_splits_beside_images_are_not_left_out(tmp_path):
    write(tmp_path, mask=Image.fromarray)
    write(tmp_path / "test", mask=Image.fromarray)
    with pytest.raises(ValueError, match=r"images and masks beside test: .*data\.root="):
        MaskFolder(root=tmp_path)


@pytest.mark.parametrize("wrong", [[-1, 2], [0, 0], "balancd", [], [float("nan"), 1]])
def test_unusable_class_weights_are_refused(wrong):
    for loss in (CrossEntropy, Focal):
        with pytest.raises(ValueError, match="class_weights"):
            loss(class_weights=wrong)


def test_balanced_weights_make_each_class_count_alike(tmp_path):
    write(tmp_path, mask=Image.fromarray)
    weights = balanced_weights(MaskFolder(root=tmp_path), num_classes=2)
    assert weights[0] * 71 == pytest.approx(weights[1] * 9)
