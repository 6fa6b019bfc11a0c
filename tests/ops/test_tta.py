import pytest
import torch

from fovea.ops.tta import average, check_views, flip, shift


def net(x):
    """Give weight to where things are, so that every view differs."""
    ramp = torch.linspace(-1, 1, x.shape[-1])
    return torch.stack(
        [(x * ramp).mean((1, 2, 3)), (x * ramp.view(-1, 1)).mean((1, 2, 3)), x.amax((1, 2, 3))], 1
    )


@pytest.fixture
def image():
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 4


def test_it_averages_probabilities_over_image_and_mirror(image):
    expected = (net(image).softmax(1) + net(image.flip(-1)).softmax(1)) / 2
    found = average(net, image, ["flip"])
    torch.testing.assert_close(found.exp(), expected)
    torch.testing.assert_close(found.softmax(1), expected)
    torch.testing.assert_close(average(net, image.flip(-1), ["flip"]), found)


def test_no_views_give_the_probabilities_themselves(image):
    torch.testing.assert_close(average(net, image, []).exp(), net(image).softmax(1))


def test_views_combine(image):
    views = [x for v in flip(image) for x in shift(v)]
    assert len(views) == 10
    expected = torch.stack([net(v).softmax(1) for v in views]).mean(0)
    torch.testing.assert_close(average(net, image, ["flip", "shift"]).exp(), expected)
    torch.testing.assert_close(average(net, image, ["shift", "flip"]).exp(), expected)


def test_shifts_move_by_a_thirty_second_and_repeat_the_edge():
    image = torch.arange(64.0).expand(1, 1, 64, 64)
    same, up, down, left, right = (v[0, 0, 0] for v in shift(image))
    assert torch.equal(same, image[0, 0, 0]) and torch.equal(up, same) and torch.equal(down, same)
    assert left[:3].tolist() == [0, 0, 0] and left[3] == 1
    assert right[:2].tolist() == [2, 3] and right[-3:].tolist() == [63, 63, 63]


def test_half_precision_is_averaged_in_single(image):
    assert average(lambda x: net(x).bfloat16(), image, ["flip"]).dtype == torch.float32


@pytest.mark.parametrize("given", [["rotate"], "flip"])
def test_unknown_views_are_named(given):
    with pytest.raises(ValueError, match=r"task.tta=.* flip, shift"):
        check_views(given)


def test_a_view_given_twice_counts_once():
    assert check_views(["flip", "flip"]) == ("flip",)
