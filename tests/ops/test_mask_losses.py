import pytest
import torch
import torch.nn.functional as F
from segmentation_models_pytorch import losses as smp

from fovea.ops.lovasz import Lovasz
from fovea.ops.mask_losses import CrossEntropy, Focal
from fovea.ops.region_losses import Dice, Jaccard, Tversky

LOSSES = {
    "ce": CrossEntropy(),
    "weighted": CrossEntropy(class_weights=[0.5, 2.0, 1.0, 0.0]),
    "focal": Focal(gamma=2.0),
    "soft_focal": Focal(gamma=0.5),
    "dice": Dice(),
    "smooth_dice": Dice(smooth=1.0),
    "jaccard": Jaccard(),
    "tversky": Tversky(alpha=0.3, beta=0.7),
    "lovasz": Lovasz(),
}
K, SIZE = 4, (2, 3, 4)
CASES = [(name, k) for name in LOSSES for k in (1, K) if (name, k) != ("weighted", 1)]
each = pytest.mark.parametrize(("name", "channels"), CASES)


def batch(channels=K, *, ignored=0.25, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(SIZE[0], channels, *SIZE[1:], generator=draw, dtype=dtype)
    mask = torch.randint(max(2, channels), SIZE, generator=draw)
    mask[torch.rand(SIZE, generator=draw) < ignored] = 255
    return logits.requires_grad_(), mask


def slope(loss, logits, mask):
    return torch.autograd.grad(loss(logits, mask), logits)[0]


@each
def test_the_gradient_is_that_of_the_value(name, channels):
    logits, mask = batch(channels)
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, mask), logits)


@each
def test_ignored_pixels_have_no_influence(name, channels):
    loss, (logits, mask) = LOSSES[name], batch(channels)
    hidden = (mask == 255)[:, None].expand_as(logits)
    other = torch.where(hidden, 50 * torch.randn_like(logits), logits).detach().requires_grad_()
    torch.testing.assert_close(loss(other, mask), loss(logits, mask), rtol=1e-12, atol=0)
    assert not slope(loss, logits, mask)[hidden].any() and slope(loss, logits, mask)[~hidden].any()
    torch.testing.assert_close(slope(loss, other, mask), slope(loss, logits, mask))


@each
def test_a_batch_where_all_is_ignored_gives_0_with_a_slope_of_0(name, channels):
    logits, mask = batch(channels, ignored=1.1)
    value = LOSSES[name](logits, mask)
    assert value.ndim == 0 and value == 0 and value.requires_grad
    assert torch.equal(slope(LOSSES[name], logits, mask), torch.zeros_like(logits))


@each
def test_a_perfect_prediction_costs_nothing_and_the_opposite_much(name, channels):
    _, mask = batch(channels)
    truth = F.one_hot(mask.clamp(max=3), 4).movedim(-1, 1)[:, : max(2, channels)].double()
    right = truth[:, 1:2] if channels == 1 else truth
    logits = (60 * (2 * right - 1)).requires_grad_()
    assert 0 <= LOSSES[name](logits, mask) < 1e-9 and slope(LOSSES[name], logits, mask).isfinite().all()
    assert LOSSES[name](-logits, mask) > 0.8


@each
def test_the_order_of_pixels_does_not_count(name, channels):
    logits, mask = batch(channels)
    order = torch.randperm(mask.numel())
    shuffled = logits.movedim(1, 0).flatten(1)[:, order].view(channels, *SIZE).movedim(0, 1)
    found = LOSSES[name](shuffled, mask.flatten()[order].view(SIZE))
    torch.testing.assert_close(found, LOSSES[name](logits, mask))


@each
def test_half_precision_is_raised_to_single_also_under_autocast(name, channels):
    logits, mask = batch(channels, dtype=torch.float32)
    rounded = logits.detach().bfloat16()
    expected = LOSSES[name](rounded.float(), mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = LOSSES[name](rounded.requires_grad_(), mask)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "weighted"])
def test_the_names_of_classes_do_not_count_nor_do_absent_ones(name):
    logits, mask = batch()
    mask[mask == 2] = 0
    order = torch.tensor([3, 1, 0, 2])
    renamed = torch.where(mask == 255, 255, order.argsort()[mask.clamp(max=3)])
    torch.testing.assert_close(LOSSES[name](logits[:, order], renamed), LOSSES[name](logits, mask))
    assert slope(LOSSES[name], logits, mask).isfinite().all()


def test_cross_entropy_is_torchs_and_weights_are_not_divided_out():
    logits, mask = batch()
    torch.testing.assert_close(CrossEntropy()(logits, mask), F.cross_entropy(logits, mask, ignore_index=255))
    weight = [0.5, 2.0, 1.0, 0.0]
    known = mask != 255
    picked = -logits.log_softmax(1).movedim(1, -1)[known]
    expected = (torch.tensor(weight)[mask[known]] * picked[range(len(picked)), mask[known]]).mean()
    torch.testing.assert_close(CrossEntropy(class_weights=weight)(logits, mask), expected)
    one, mask = batch(1)
    known = mask != 255
    expected = F.binary_cross_entropy_with_logits(one[:, 0][known], mask[known].double())
    torch.testing.assert_close(CrossEntropy()(one, mask), expected)
    with pytest.raises(ValueError, match="4 numbers for 2 classes"):
        CrossEntropy(class_weights=weight)(one, mask)


def test_focal_is_its_equation():
    logits, mask = batch()
    torch.testing.assert_close(Focal(gamma=0)(logits, mask), CrossEntropy()(logits, mask))
    known = mask != 255
    p = logits.softmax(1).movedim(1, -1)[known][range(int(known.sum())), mask[known]]
    torch.testing.assert_close(Focal(gamma=3)(logits, mask), (-((1 - p) ** 3) * p.log()).mean())
    one, mask = batch(1)
    theirs = smp.FocalLoss("binary", alpha=0.25, gamma=2.0, ignore_index=255)(one, mask)
    torch.testing.assert_close(Focal(class_weights=[0.75, 0.25])(one, mask), theirs)
    with pytest.raises(ValueError, match="gamma=-1"):
        Focal(gamma=-1)


REGIONS = [
    (Dice(), smp.DiceLoss, {}),
    (Dice(smooth=1.0), smp.DiceLoss, {"smooth": 1.0}),
    (Jaccard(), smp.JaccardLoss, {}),
    (Tversky(alpha=0.2, beta=0.9), smp.TverskyLoss, {"alpha": 0.2, "beta": 0.9}),
]


@pytest.mark.parametrize(("ours", "theirs", "options"), REGIONS)
def test_regions_are_those_of_segmentation_models(ours, theirs, options):
    logits, mask = batch()
    torch.testing.assert_close(
        ours(logits, mask), theirs("multiclass", ignore_index=255, **options)(logits, mask)
    )
    one, of_two = batch(1)
    torch.testing.assert_close(ours(one, of_two), theirs("binary", ignore_index=255, **options)(one, of_two))
    mask[mask == 1] = 0  # they count a class that is not there as 0
    expected = theirs("multiclass", ignore_index=255, **options)(logits, mask) * 4 / 3
    torch.testing.assert_close(ours(logits, mask), expected)


def test_tversky_takes_weights_that_make_sense():
    for wrong in ({"alpha": -0.1}, {"alpha": 0.0, "beta": 0.0}):
        with pytest.raises(ValueError, match="not both 0"):
            Tversky(**wrong)


def test_lovasz_is_that_of_its_authors():
    logits, mask = batch(dtype=torch.float32)
    mask[mask == 1] = 0
    torch.testing.assert_close(
        Lovasz()(logits, mask), smp.LovaszLoss("multiclass", ignore_index=255)(logits, mask)
    )
    one, mask = batch(1, dtype=torch.float32)
    torch.testing.assert_close(Lovasz()(one, mask), smp.LovaszLoss("binary", ignore_index=255)(one, mask))


def test_lovasz_of_hard_predictions_is_the_jaccard_loss():
    _, mask = batch()
    guess = torch.randint(4, SIZE, generator=torch.Generator().manual_seed(1))
    logits = 200 * F.one_hot(guess, 4).movedim(-1, 1).double()
    torch.testing.assert_close(Lovasz()(logits, mask), Jaccard()(logits, mask))


def test_lovasz_stays_exact_for_many_pixels():
    draw = torch.Generator().manual_seed(0)
    logits, mask = (
        torch.randn(1, 2, 300, 300, generator=draw),
        torch.randint(2, (1, 300, 300), generator=draw),
    )
    torch.testing.assert_close(
        Lovasz()(logits, mask), Lovasz()(logits.double(), mask).float(), rtol=1e-5, atol=0
    )
