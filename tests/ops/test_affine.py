"""RandomAffine agrees with torchvision and depends on (seed, epoch, sample) alone."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from fovea.ops.affine import RandomAffine


def batch(index, *, epoch=0, shape=(1, 20, 30)):
    generator = torch.Generator().manual_seed(1)
    pool = torch.randint(0, 256, (50, *shape), dtype=torch.uint8, generator=generator)
    index = torch.as_tensor(index)
    return {"image": pool[index], "label": index % 3, "index": index, "epoch": epoch}


def test_nothing_changes_at_zero():
    given = batch([3, 4])
    out = RandomAffine(degrees=0, translate=0, scale=0)(given, seed=0, num_classes=3)
    torch.testing.assert_close(out["image"], given["image"].float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("degrees", [30, 90])
def test_rotation_is_torchvisions(degrees, monkeypatch):
    given = batch([7])
    drawn = torch.tensor([[0.0, 0.5, 0.5, 0.5, 0.5]])  # the extreme angle, nothing else
    monkeypatch.setattr("fovea.ops.affine.draw", lambda *a, **k: drawn)
    out = RandomAffine(degrees=degrees, translate=0, scale=0)(given, seed=0, num_classes=3)["image"]
    image = given["image"].float()
    expected = F.rotate(image, degrees, interpolation=F.InterpolationMode.BILINEAR)
    other = F.rotate(image, -degrees, interpolation=F.InterpolationMode.BILINEAR)
    error = min((out - e)[..., 4:-4, 8:-8].abs().max().item() for e in (expected, other))
    assert error < 0.05


def test_scale_and_move_are_torchvisions(monkeypatch):
    given = batch([7])
    drawn = torch.tensor([[0.5, 0.5, 1.0, 1.0, 0.5]])
    monkeypatch.setattr("fovea.ops.affine.draw", lambda *a, **k: drawn)
    out = RandomAffine(degrees=0, translate=0.1, scale=0.5)(given, seed=0, num_classes=3)["image"]
    bilinear = F.InterpolationMode.BILINEAR
    # moved by 3 of 30 pixels in the old image, which the scale of 1.5 shows as 4.5
    expected = F.affine(given["image"].float(), 0.0, [-4.5, 0.0], 1.5, [0.0, 0.0], interpolation=bilinear)
    torch.testing.assert_close(out[..., 4:-4, 8:-8], expected[..., 4:-4, 8:-8], atol=0.05, rtol=0)


def test_a_sample_is_transformed_the_same_in_any_batch():
    augment = RandomAffine(shear=5)
    alone = augment(batch([9]), seed=0, num_classes=3)["image"]
    among = augment(batch([1, 9, 4]), seed=0, num_classes=3)["image"]
    assert torch.equal(alone[0], among[1])


def test_epochs_and_seeds_differ_and_runs_repeat():
    augment = RandomAffine()
    first = augment(batch(np.arange(8)), seed=0, num_classes=3)["image"]
    assert torch.equal(first, augment(batch(np.arange(8)), seed=0, num_classes=3)["image"])
    assert not torch.equal(first, augment(batch(np.arange(8)), seed=1, num_classes=3)["image"])
    assert not torch.equal(first, augment(batch(np.arange(8), epoch=1), seed=0, num_classes=3)["image"])


@pytest.mark.parametrize("wrong", [{"degrees": 200}, {"scale": 1.0}, {"translate": -0.1}, {"shear": 90}])
def test_wrong_ranges_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RandomAffine(**wrong)
