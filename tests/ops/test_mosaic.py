"""Mosaics and sizes of whole batches, on rectangles whose colour is their class."""

import pytest
import torch

from fovea.ops.mosaic import Mosaic
from fovea.ops.multi_scale import MultiScale

SIDES = (64, 96)


def painted(count=6, *, epoch=0):
    """Return images with up to three rectangles each, that do not overlap, coloured 50 · (class + 1)."""
    generator = torch.Generator().manual_seed(3)
    image = torch.zeros(count, 3, *SIDES, dtype=torch.uint8)
    boxes, labels, at = [], [], []
    for b in range(count):
        for k in range(b % 4):
            x, y = (int(torch.randint(0, 14, (), generator=generator)) for _ in range(2))
            x1, y1, label = x + 32 * k, y, (b + k) % 4
            w, h = (int(torch.randint(6, 17, (), generator=generator)) for _ in range(2))
            image[b, :, y1 : y1 + 2 * h, x1 : x1 + w] = 50 * (label + 1)
            boxes.append([x1, y1, x1 + w, y1 + 2 * h])
            labels.append(label)
            at.append(b)
    return {
        "image": image, "mask": image[:, 0].clone(), "boxes": torch.tensor(boxes).float().view(-1, 4),
        "labels": torch.tensor(labels).long(), "ignore": torch.zeros(len(labels), dtype=torch.bool),
        "batch_index": torch.tensor(at).long(), "index": torch.arange(count), "epoch": epoch,
    }  # fmt: skip


def check(out):
    """Each box shows its class alone, and what is coloured lies in boxes, but for what was cut."""
    assert (out["batch_index"].diff() >= 0).all()
    height, width = out["image"].shape[-2:]
    covered = torch.zeros(out["mask"].shape, dtype=torch.bool)
    for box, label, b in zip(out["boxes"], out["labels"], out["batch_index"], strict=True):
        x1, y1, x2, y2 = box.tolist()
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        inside = out["mask"][b, round(y1 + 1) : round(y2 - 1), round(x1 + 1) : round(x2 - 1)]
        assert (inside == 50 * (label + 1)).all()
        covered[b, max(0, round(y1) - 1) : round(y2) + 1, max(0, round(x1) - 1) : round(x2) + 1] = True
    return float(((out["mask"] > 0) & ~covered).sum() / (out["mask"] > 0).sum())


def test_boxes_masks_and_pixels_of_a_mosaic_agree():
    uncovered = []
    for epoch in range(40):
        batch = painted(epoch=epoch)
        out = Mosaic()(batch, seed=0, num_classes=4)
        assert out["image"].shape == batch["image"].shape
        uncovered.append(check(out))
        same = (out["image"][:, 0].round() == out["mask"]).float().mean()
        assert same > 0.9  # but for blurred edges
    assert sum(uncovered) / len(uncovered) < 0.05  # of what keeps less than a quarter
    assert len({len(Mosaic()(painted(epoch=e), seed=0, num_classes=4)["boxes"]) for e in range(9)}) > 2


def test_mosaic_repeats_leaves_its_input_and_ends_in_time():
    batch = painted(epoch=5)
    first, again = (Mosaic()(painted(epoch=5), seed=1, num_classes=4) for _ in range(2))
    assert all(torch.equal(first[k], again[k]) for k in ("image", "mask", "boxes", "labels", "batch_index"))
    assert not torch.equal(first["image"], Mosaic()(batch, seed=2, num_classes=4)["image"])
    assert torch.equal(batch["image"], painted()["image"]) and torch.equal(batch["boxes"], painted()["boxes"])
    for close, epochs, same in ((3, 8, True), (2, 8, False), (9, None, False), (9, -1, False)):
        out = Mosaic(close=close, epochs=epochs)(batch, seed=1, num_classes=4)
        assert torch.equal(out["image"], batch["image"].to(out["image"])) == same


def test_only_the_chosen_images_change():
    batch = painted()
    none = Mosaic(p=0.0)(batch, seed=0, num_classes=4)
    assert torch.equal(none["boxes"], batch["boxes"]) and torch.equal(none["image"], batch["image"].float())
    half = Mosaic(p=0.5)(batch, seed=0, num_classes=4)
    check(half)
    same = [torch.equal(a, b.float()) for a, b in zip(half["image"], batch["image"], strict=True)]
    assert 0 < sum(same) < len(same)
    for b in (b for b, kept in enumerate(same) if kept):
        own = batch["boxes"][batch["batch_index"] == b]
        assert torch.equal(half["boxes"][half["batch_index"] == b], own)


def test_a_batch_without_any_box_and_of_one_image():
    batch = painted(count=1)
    out = Mosaic()(batch, seed=0, num_classes=4)
    assert out["boxes"].shape == (0, 4) and out["labels"].shape == (0,)


@pytest.mark.parametrize(
    ("options", "match"), [({"p": 2}, "p=2"), ({"scale": (0.2, 1)}, "scale"), ({"close": -1}, "close=-1")]
)
def test_senseless_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        Mosaic(**options)


def test_mosaic_refuses_what_has_no_meaning_then():
    with pytest.raises(ValueError, match="label"):
        Mosaic()({**painted(), "label": torch.zeros(6)}, seed=0, num_classes=4)


def test_sizes_are_multiples_of_the_stride_and_change_with_the_batch():
    seen = set()
    for epoch in range(12):
        batch = painted(epoch=epoch)
        out = MultiScale(scale=0.5)(batch, seed=0, num_classes=4)
        height, width = out["image"].shape[-2:]
        assert height % 32 == 0 == width % 32 and out["mask"].shape[-2:] == (height, width)
        seen.add((height, width))
        assert check(out) < 0.1
        area = (batch["boxes"][:, 2:] - batch["boxes"][:, :2]).prod(1) * height * width / (64 * 96)
        torch.testing.assert_close((out["boxes"][:, 2:] - out["boxes"][:, :2]).prod(1), area)
    assert len(seen) > 2


def test_mosaics_that_never_come_are_announced(caplog):
    Mosaic(close=2, epochs=3)
    assert not caplog.records
    Mosaic(close=3, epochs=3)
    assert "close=3" in caplog.text and "max_epochs=3" in caplog.text
