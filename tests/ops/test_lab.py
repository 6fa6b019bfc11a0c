import pytest
import torch

from fovea.ops.lab import grey, lab_to_rgb, lightness, rgb_to_lab

# what skimage.color.rgb2lab and lab2rgb of scikit-image 0.26 say
RGB = [
    [0, 0, 0],
    [1, 1, 1],
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
    [0.2, 0.5, 0.7],
    [0.01, 0.02, 0.03],
    [0.9, 0.4, 0.1],
]
LAB = [[0.0, 0.0, 0.0], [100.0, -0.00245, 0.00465],
       [53.24059, 80.09231, 67.20275], [87.7351, -86.18303, 83.1797],
       [32.29567, 79.18559, -107.8573], [50.97204, -6.39818, -33.70932], [1.30005, -0.31235, -1.19976],
       [58.34004, 45.99163, 61.3641]]  # fmt: skip
FROM_LAB = [[50, 20, -30], [10, -80, 60], [95, 100, 100], [70, -40, -100], [3, 1, 1]]  # three no screen shows
TO_RGB = [[0.49636, 0.42926, 0.66684], [0.0, 0.1865, 0.0], [1.0, 0.50805, 0.11731], [0.0, 0.78849, 1.0],
          [0.05562, 0.03948, 0.03354]]  # fmt: skip


def pixels(rows):
    """Return colours (N, 3) as pictures (N, 3, 1, 1)."""
    return torch.tensor(rows, dtype=torch.float32)[:, :, None, None]


def test_it_agrees_with_skimage():
    assert torch.allclose(rgb_to_lab(pixels(RGB)), pixels(LAB), atol=1e-3)
    assert torch.allclose(lab_to_rgb(pixels(FROM_LAB)), pixels(TO_RGB), atol=1e-4)


def test_it_agrees_with_skimage_on_many_colours():
    color = pytest.importorskip("skimage.color")
    rgb = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    want = torch.from_numpy(color.rgb2lab(rgb.permute(0, 2, 3, 1).numpy())).permute(0, 3, 1, 2)
    assert torch.allclose(rgb_to_lab(rgb), want.float(), atol=1e-3)


def test_there_and_back_is_the_same_picture():
    rgb = torch.rand(3, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(lab_to_rgb(rgb_to_lab(rgb)), rgb, atol=2e-5)
    assert lab_to_rgb(torch.full((1, 3, 2, 2), 300.0)).max() <= 1


def test_a_grey_picture_has_no_colour():
    x = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    lab = rgb_to_lab(x)
    assert torch.allclose(lab[:, :1], rgb_to_lab(x.expand(-1, 3, -1, -1))[:, :1], atol=1e-3)
    assert not lab[:, 1:].any()
    assert torch.allclose(grey(lightness(x)), x, atol=1e-5)


@pytest.mark.parametrize("convert", [rgb_to_lab, lab_to_rgb, lightness])
def test_gradients_are_finite_also_at_black_and_beyond_the_gamut(convert):
    x = pixels([*RGB, *FROM_LAB, [-1, 2, -3]]).requires_grad_()
    convert(x).sum().backward()
    assert x.grad.isfinite().all()


def test_autocast_costs_no_precision():
    rgb = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lab_to_rgb(rgb_to_lab(rgb)), lab_to_rgb(rgb_to_lab(rgb)))
        inside = rgb_to_lab(rgb)
    assert torch.equal(inside, rgb_to_lab(rgb)) and inside.dtype == torch.float32
    assert rgb_to_lab(rgb.double()).dtype == torch.float64
