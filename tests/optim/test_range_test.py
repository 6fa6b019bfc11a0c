"""A learning-rate range test is read as its plot is: the steepest fall, over the logarithm of the rate."""

import numpy as np
import pytest

from fovea.optim.range_test import BETA, single_losses, steepest

RATES = np.logspace(-6, 0, 100)


def curve(seed, *, middle=-2.5, noise=0.05):
    """A loss that falls most steeply at 10^middle, and diverges at the end."""
    rng = np.random.default_rng(seed)
    losses = 2.3 - 1.5 / (1 + np.exp(-6 * (np.log10(RATES) - middle))) + rng.normal(0, noise, 100)
    losses[-10:] += rng.uniform(0, 20, 10)
    return losses


@pytest.mark.parametrize("middle", [-4.0, -2.5, -1.5])
def test_noise_at_small_rates_is_no_slope(middle):
    found = [steepest(RATES, curve(seed, middle=middle)) for seed in range(20)]
    assert np.all(np.abs(np.log10(found) - middle) < 0.5)


def test_what_diverges_to_nan_is_left_out():
    losses = curve(0)
    losses[-12:] = np.nan
    assert abs(np.log10(steepest(RATES, losses)) + 2.5) < 0.5


def test_no_rate_where_the_loss_never_falls():
    assert steepest(RATES, np.linspace(1, 9, 100)) is None
    assert steepest(RATES, np.ones(100)) is None
    assert steepest([], []) is None and steepest(RATES[:4], [4.0, 3.0, 2.0, 1.0]) is None


@pytest.mark.parametrize("accumulated", [1, 3])
def test_the_loss_of_each_step_is_found_in_the_running_mean(accumulated):
    losses, mean, recorded = curve(1), 0.0, []
    for step, loss in enumerate(losses / accumulated, start=1):  # what Lightning's search does
        mean = BETA * mean + (1 - BETA) * loss
        recorded.append(mean / (1 - BETA ** (step + 1)))
    assert single_losses(recorded, accumulated=accumulated) == pytest.approx(losses)
