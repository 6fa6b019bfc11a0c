import pytest
import torch
from torch import nn

from fovea.ops.mirror import mirror
from fovea.ops.sliding import sliding


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (16, 16), (37, 53)], ids=str)
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9])
def test_a_pointwise_net_is_left_as_it_is(size, overlap):
    torch.manual_seed(0)
    net = nn.Conv2d(3, 4, 1)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        found = sliding(net, x, window=(16, 12), overlap=overlap, batch=7)
        torch.testing.assert_close(found, net(x), rtol=1e-5, atol=1e-6)


def test_a_constant_stays_constant_into_the_corners():
    found = sliding(lambda w: torch.full_like(w[:, :1], 3.0), torch.zeros(1, 3, 300, 200), window=(64, 64))
    assert (found - 3).abs().max() < 1e-6


def test_pixels_that_only_see_their_window_are_those_of_the_whole_image():
    """Convolutions of radius 2 differ near the borders of windows only, and there the weights are small."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2, 3, padding=1))
    x = torch.randn(1, 1, 40, 40)
    with torch.no_grad():
        whole, found = net(x), sliding(net, x, window=(24, 24), overlap=0.25)
    wrong = (whole - found).abs().amax((0, 1))  # windows begin at 0 and 16, and end at 24 and 40
    clear = torch.ones(40, dtype=torch.bool)
    clear[14:18] = clear[22:26] = False
    assert wrong[clear][:, clear].max() < 1e-6 < wrong.max()
    pasted = torch.cat([net(x[:, :, :20])[:, :, :20], net(x[:, :, 20:])], 2)
    assert wrong.max() < 0.5 * (whole - pasted).abs().max()


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_pooling_falls_on_the_same_pixels_as_in_the_whole_image(overlap):
    net = nn.Sequential(nn.AvgPool2d(32), nn.Upsample(scale_factor=32))
    x = torch.randn(1, 2, 150, 333)
    found = sliding(net, x, window=(64, 96), overlap=overlap)
    torch.testing.assert_close(found, net(mirror(x, bottom=10, right=19))[:, :, :150, :333])


def test_windows_lie_within_the_image_and_come_in_batches():
    seen = []

    def run(windows):
        seen.append(len(windows))
        assert windows.shape[1:] == (2, 8, 10)
        return windows[:, :1]

    image = torch.randn(3, 2, 20, 10)
    assert torch.allclose(sliding(run, image, window=(8, 10), overlap=0.25, batch=4), image[:, :1])
    assert seen == [4, 4, 1]  # three images of three windows: at 0, 6 and 12


def test_half_precision_is_summed_in_single():
    found = sliding(lambda w: w.half(), torch.rand(1, 1, 9, 9), window=(4, 4))
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 1.0}, r"overlap=1.0 .*\[0, 1\)"),
        ({"window": (0, 4)}, r"window=\(0, 4\).*such as"),
        ({"batch": 0}, "batch=0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sliding(nn.Identity(), torch.zeros(1, 1, 8, 8), **{"window": (4, 4), **options})


def test_a_net_that_changes_the_size_is_named():
    with pytest.raises(ValueError, match=r"windows of \[4, 4\] gave \(4, 1, 2, 2\).*\(4, K, 4, 4\)"):
        sliding(nn.MaxPool2d(2), torch.zeros(1, 1, 8, 8), window=(4, 4))
    with pytest.raises(ValueError, match="at least one"):
        sliding(nn.Identity(), torch.zeros(0, 1, 8, 8), window=(4, 4))
