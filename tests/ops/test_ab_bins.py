import pytest
import torch

from fovea.ops.ab_bins import Bins, in_gamut
from fovea.ops.ab_regression import Regression
from fovea.ops.lab import rgb_to_lab


@pytest.fixture(scope="module")
def coarse():
    return Bins(channels=len(in_gamut(25.0)), grid=25.0, sigma=12.0)


def colours(count=200):
    rgb = torch.rand(count, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    return rgb_to_lab(rgb)[:, 1:, 0, 0]


def test_there_are_as_many_cells_as_in_the_paper_and_every_colour_is_near_one():
    points = in_gamut(10.0)
    assert len(points) == 313
    assert torch.cdist(colours(), points).min(dim=1).values.max() <= 10 / 2**0.5


def test_a_colour_is_shared_by_its_nearest_cells(coarse):
    cells, share = coarse.encode(colours())
    assert cells.shape == share.shape == (200, 5)
    assert torch.allclose(share.sum(dim=1), torch.ones(200))
    assert torch.equal(cells[:, 0], torch.cdist(colours(), coarse.points).argmin(dim=1))
    assert (share[:, 0] >= share[:, 4]).all()


def test_decoding_what_was_encoded_gives_the_colour_back():
    bins = Bins(temperature=1.0)
    ab = colours(50)
    cells, share = bins.encode(ab)
    logits = torch.full((50, 313), -1e4).scatter(1, cells, share.log())[:, :, None, None]
    assert (bins.decode(logits)[:, :, 0, 0] - ab).abs().max() < 6
    sharp = Bins(temperature=1e-3).decode(logits)[:, :, 0, 0]
    assert torch.allclose(sharp, bins.points[cells[:, 0]], atol=1e-3)


def test_the_weights_have_mean_one_over_the_training_images(coarse):
    bins = Bins(channels=coarse.channels, grid=25.0, sigma=1e-3, rebalance=0.5)
    ab = torch.cat([torch.zeros(900, 2), torch.tensor([[50.0, 25.0]]).expand(100, 2)])
    bins.fit(ab)
    weight = bins.weight[torch.cdist(ab, bins.points).argmin(dim=1)]
    assert weight.mean() == pytest.approx(1, abs=1e-4)
    q = bins.channels
    assert weight[-1] / weight[0] == pytest.approx((0.5 * 0.9 + 0.5 / q) / (0.5 * 0.1 + 0.5 / q), rel=1e-4)
    Bins.fit(bins, colours())
    alike = Bins(channels=q, grid=25.0, rebalance=1.0)
    alike.fit(colours())
    assert torch.allclose(alike.weight, torch.ones(q))


def test_the_loss_is_the_weighted_cross_entropy_of_the_dense_target(coarse):
    bins = Bins(channels=coarse.channels, grid=25.0)
    bins.fit(colours())
    ab = colours(24).reshape(2, 3, 4, 2).movedim(-1, 1)
    logits = torch.randn(2, bins.channels, 3, 4, generator=torch.Generator().manual_seed(1))
    cells, share = bins.encode(colours(24))
    dense = torch.zeros(24, bins.channels).scatter(1, cells, share)
    logp = logits.movedim(1, -1).reshape(24, -1).log_softmax(dim=1)
    want = (bins.weight[cells[:, 0]] * -(dense * logp).sum(dim=1)).mean()
    assert torch.allclose(bins.loss(logits, ab), want, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(bins.decode(logits), bins.decode(logits).float())


def test_regression_is_the_mean_square_in_units_of_its_scale():
    output, ab = torch.full((1, 2, 2, 2), 128.0), torch.zeros(1, 2, 2, 2)
    assert Regression().loss(output, ab) == 1
    assert torch.equal(Regression().decode(output), output)


def test_wrong_numbers_are_refused():
    for wrong, said in (
        ({"channels": 300}, "gives 313 cells"), ({"grid": 0.5}, "grid=0.5"),
        ({"temperature": 0}, "temperature=0"),
        ({"rebalance": 2}, "rebalance=2"), ({"neighbours": 0}, "neighbours=0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            Bins(**wrong)
    with pytest.raises(ValueError, match="channels=3"):
        Regression(channels=3)
