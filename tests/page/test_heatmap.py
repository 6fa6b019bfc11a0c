import numpy as np
import pytest

from fovea.page.heatmap import colour_bar, overlay, scaled
from helpers.toy_explained import bump

GREY = np.full((32, 32, 3), 128, np.uint8)


def luma(image):
    return image.astype(float) @ [0.299, 0.587, 0.114]


def test_equal_maps_up_to_a_factor_look_equal():
    one, two = (overlay(GREY, factor * bump(), signed=False)[0] for factor in (1.0, 1e-6))
    assert (one == two).all()


def test_a_higher_value_is_lighter():
    ramp = np.linspace(0, 1, 32, dtype=np.float32)[None].repeat(32, axis=0)
    shade = luma(overlay(GREY, ramp, signed=False)[0])[0]
    assert (np.diff(shade) > -0.6).all() and shade[-1] > shade[0] + 80  # but for rounding to whole numbers


def test_the_bar_shows_the_colours_of_the_map():
    ramp = np.linspace(-1, 1, 32)[None].repeat(32, axis=0)
    for signed, values in ((True, ramp), (False, (ramp + 1) / 2)):
        drawn, _ = overlay(GREY, values, signed=signed)
        assert np.abs(drawn.astype(int) - colour_bar(signed=signed, width=32, height=32)).max() <= 1


def test_signs_are_told_apart_and_zero_is_neutral():
    values = np.zeros((32, 32), np.float32)
    values[:, :8], values[:, 24:] = 0.5, -2.0
    drawn = overlay(GREY, values, signed=True)[0].astype(int)
    red, _, blue = drawn[0, 0]
    assert red > blue + 5
    red, _, blue = drawn[0, 31]
    assert blue > red + 60
    assert np.ptp(drawn[0, 16]) <= 3
    assert scaled(values, signed=True)[0, 0] == 0.25  # both signs share one scale


def test_one_outlier_does_not_hide_the_rest():
    values = bump()
    values[0, 0] = 1000.0
    assert scaled(values, signed=False)[16, 16] > 0.9
    assert scaled(bump(), signed=False).max() == 1.0
    rare = np.zeros((32, 32))
    rare[3, 3] = 5.0
    assert scaled(rare, signed=False)[3, 3] == 1.0  # nothing else is there to set the scale


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (np.zeros((32, 32)), "zero everywhere"),
        (np.full((32, 32), 0.5), "the same everywhere (0.5)"),
        (np.full((32, 32), np.nan), "no finite value"),
        (np.full((32, 32), np.inf), "no finite value"),
    ],
)
def test_a_map_that_says_nothing_leaves_the_picture_grey(values, note):
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    drawn, said = overlay(picture, values, signed=False)
    assert said == note
    assert np.ptp(drawn, axis=2).max() == 0 and np.ptp(drawn) > 100


def test_only_what_is_not_finite_stays_unshaded():
    values = bump()
    values[:8] = np.nan
    drawn, note = overlay(GREY, values, signed=False)
    assert note == "25.0 % not finite"
    assert np.abs(drawn[:8].astype(int) - 128).max() <= 1 and np.ptp(drawn[8:], axis=2).min() > 0
    assert overlay(GREY, -bump(), signed=False)[1] == "nothing above zero"


def test_a_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(31, 32\)"):
        overlay(GREY, np.zeros((31, 32)), signed=False)
