import numpy as np
import pytest
import torch

from fovea.ops.augment import CutMix, HorizontalFlip, Mixup, RandomErasing, RandomShift

ALL = [
    RandomShift(),
    HorizontalFlip(),
    RandomErasing(p=0.8),
    RandomErasing(p=0.8, fill=114),
    Mixup(alpha=1.0),
    CutMix(),
]


def make_batch(count=12, channels=3, size=16, epoch=0, dtype=torch.uint8, start=0):
    generator = torch.Generator().manual_seed(5)
    image = torch.randint(1, 256, (64, channels, size, size), generator=generator, dtype=torch.uint8)
    index = torch.arange(start, start + count)
    return {"image": image[index].to(dtype), "label": index % 4, "index": index, "epoch": epoch}


def run(augment, batch, seed=0):
    return augment(batch, seed=seed, num_classes=4)


@pytest.mark.parametrize("augment", ALL, ids=lambda a: type(a).__name__)
def test_repeats_exactly_and_changes_with_epoch_and_seed(augment):
    first = run(augment, make_batch())
    again = run(augment, make_batch())
    assert torch.equal(first["image"], again["image"]) and torch.equal(first["label"], again["label"])
    assert not torch.equal(first["image"], run(augment, make_batch(epoch=1))["image"])
    assert not torch.equal(first["image"], run(augment, make_batch(), seed=1)["image"])


@pytest.mark.parametrize("augment", ALL, ids=lambda a: type(a).__name__)
def test_leaves_its_input_as_it_was(augment):
    for dtype in (torch.uint8, torch.float32):
        batch, copy = make_batch(dtype=dtype), make_batch(dtype=dtype)
        run(augment, batch)
        assert torch.equal(batch["image"], copy["image"]) and torch.equal(batch["label"], copy["label"])


@pytest.mark.parametrize("augment", ALL[:4], ids=lambda a: type(a).__name__)
def test_a_sample_is_treated_alike_in_any_batch(augment):
    whole = run(augment, make_batch(count=12))["image"]
    part = run(augment, make_batch(count=5, start=4))["image"]
    assert torch.equal(whole[4:9], part)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_shift_is_a_zero_padded_crop(channels, size):
    batch = make_batch(count=40, channels=channels, size=24)
    batch["image"] = batch["image"][..., : size[0], : size[1]]
    limit = round(0.25 * min(size))
    out = run(RandomShift(fraction=0.25), batch)["image"]
    seen = set()
    for before, after in zip(batch["image"], out, strict=True):
        padded = torch.nn.functional.pad(before, [limit] * 4)
        matches = [
            (dy, dx)
            for dy in range(2 * limit + 1)
            for dx in range(2 * limit + 1)
            if torch.equal(padded[:, dy : dy + size[0], dx : dx + size[1]], after)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) > 20  # of 81 (or 49) places for 40 images


def test_shift_reaches_both_ends():
    batch = make_batch(count=64, channels=1, size=8)
    batch["index"] = torch.arange(2000, 2064)
    batch["image"] = torch.full((64, 1, 8, 8), 255, dtype=torch.uint8)
    out = run(RandomShift(fraction=0.125), batch)["image"][:, 0] == 0
    assert {(bool(i[0].all()), bool(i[-1].all())) for i in out} == {
        (True, False),
        (False, True),
        (False, False),
    }


def test_flip_mirrors_about_half_and_none_when_disabled():
    batch = make_batch(count=64)
    out = run(HorizontalFlip(), batch)["image"]
    flipped = [torch.equal(a, b.flip(-1)) for a, b in zip(out, batch["image"], strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(out, batch["image"], strict=True)]
    assert all(f != k for f, k in zip(flipped, kept, strict=True)) and 16 < sum(flipped) < 48
    assert torch.equal(run(HorizontalFlip(enabled=False), batch)["image"], batch["image"])
    assert torch.equal(run(HorizontalFlip(p=0.0), batch)["image"], batch["image"])
    assert torch.equal(run(HorizontalFlip(p=1.0), batch)["image"], batch["image"].flip(-1))


def test_erasing_fills_one_rectangle_of_the_drawn_area():
    batch = make_batch(count=64, size=32)
    out = run(RandomErasing(p=1.0, area=(0.1, 0.3), ratio=(0.5, 2.0), fill=0), batch)["image"]
    for image in out:
        hole = (image == 0).all(0)
        rows, columns = hole.any(1), hole.any(0)
        assert torch.equal(hole, rows[:, None] & columns[None])  # a rectangle, and nothing else is black
        assert 0.07 < hole.float().mean() < 0.34  # the sides are rounded to pixels


def test_erasing_with_noise_writes_noise():
    batch = make_batch(count=32, size=32)
    batch["image"] = torch.zeros_like(batch["image"])
    out = run(RandomErasing(p=1.0, area=(1.0, 1.0), ratio=(1.0, 1.0)), batch)["image"].float()
    assert abs(out.mean() - 127.5) < 2 and abs(out.std() - 73.9) < 2
    assert not torch.equal(out[0], out[1])


def test_mixup_blends_images_and_labels_with_the_same_partners():
    batch = make_batch()
    batch["label"] = torch.arange(12)
    out = Mixup(alpha=1.0)(batch, seed=0, num_classes=12)
    assert torch.allclose(out["label"].sum(1), torch.ones(12))
    # with one class per image, the label says who was mixed with whom and how much
    expected = torch.einsum("ij,jchw->ichw", out["label"], batch["image"].float())
    torch.testing.assert_close(out["image"], expected, rtol=0, atol=1e-3)


def test_cutmix_labels_are_the_shares_of_pixels():
    batch = make_batch()
    batch["label"] = torch.arange(12)
    batch["image"] = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 3, 16, 16)
    out = CutMix()(batch, seed=3, num_classes=12)
    shares = torch.stack([(out["image"][:, 0] == i).float().mean((1, 2)) for i in range(12)], dim=1)
    torch.testing.assert_close(out["label"], shares)
    assert 0 < shares.max(1).values.min() < 1


def test_mixup_then_cutmix_keeps_probabilities():
    batch = run(CutMix(), run(Mixup(), make_batch()))
    torch.testing.assert_close(batch["label"].sum(1), torch.ones(12))


def test_lam_follows_the_beta_distribution():
    lams = []
    for index in range(400):
        batch = make_batch(count=2)
        batch |= {"index": torch.tensor([index, 0]), "label": torch.tensor([0, 1])}
        label = Mixup(alpha=1.0)(batch, seed=0, num_classes=2)["label"]
        if not torch.equal(label, torch.eye(2)):
            lams.append(float(label[0, 0]))
    counts, _ = np.histogram(lams, bins=4, range=(0, 1))  # Beta(1, 1) is uniform
    assert len(lams) > 150 and counts.min() > 0.15 * len(lams)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomShift(fraction=-1),
        lambda: HorizontalFlip(p=1.5),
        lambda: RandomErasing(area=(0.5, 0.1)),
        lambda: Mixup(alpha=0),
        lambda: CutMix(alpha=-1),
    ],
)
def test_refuses_impossible_values(make):
    with pytest.raises(ValueError, match="="):
        make()
