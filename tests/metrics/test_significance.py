import math

import numpy as np
import pytest
from scipy import stats

from fovea.metrics.significance import (
    holm,
    mcnemar,
    over_images_and_seeds,
    paired_bootstrap,
    t_interval,
    wilson,
)


@pytest.mark.parametrize("values", [[0.91, 0.93], [0.5, 0.7, 0.65, 0.61], list(np.linspace(0, 1, 17))])
def test_t_interval_is_scipys(values):
    expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)


def test_t_interval_needs_two_values():
    assert all(math.isnan(x) for x in t_interval([0.9]))


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (7, 10), (10, 10), (8121, 10_000)])
def test_wilson_is_scipys(correct, total):
    expected = stats.binomtest(correct, total).proportion_ci(method="wilson")
    assert wilson(correct, total) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_refuses_what_is_no_proportion():
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (5, 5), (6, 16), (40, 146), (3, 12)])
def test_mcnemar_is_the_binomial_test(b, c):
    expected = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected) == mcnemar(c, b)


def test_mcnemar_of_a_published_example():
    # Fagerland et al. 2013, table 1 (airway hyper-responsiveness): 1 and 7 discordant pairs
    assert mcnemar(1, 7) == pytest.approx(0.0703, abs=5e-5)


def test_mcnemar_of_many_pairs_stays_finite():
    assert 0 <= mcnemar(40_000, 50_000) < 1e-100
    assert mcnemar(45_000, 45_000) == 1.0


def test_bootstrap_interval_is_the_normal_one_of_many_images():
    gaps = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], p=[0.05, 0.85, 0.1], size=4000)
    low, high, p = paired_bootstrap(gaps)
    half = 1.96 * gaps.std() / math.sqrt(len(gaps))
    assert low == pytest.approx(gaps.mean() - half, abs=1e-3)
    assert high == pytest.approx(gaps.mean() + half, abs=1e-3)
    assert p == pytest.approx(2 / 10_001)


def test_bootstrap_draws_like_resampling_one_by_one():
    gaps = np.array([0.3, -0.2, 0.5, 0.1, 0.0, -0.4, 0.25, 0.2])
    rng = np.random.default_rng(3)
    means = gaps[rng.integers(0, len(gaps), (40_000, len(gaps)))].mean(axis=1)
    low, high, p = paired_bootstrap(gaps, draws=40_000)
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.01)
    assert p == pytest.approx(2 * (means <= 1e-12).mean(), abs=0.01)


def test_bootstrap_of_equal_models_sees_no_difference():
    assert paired_bootstrap(np.zeros(50)) == (0.0, 0.0, 1.0)


def test_bootstrap_repeats():
    gaps = np.random.default_rng(0).normal(size=300)  # all different, so the draws come in several parts
    assert paired_bootstrap(gaps, draws=20_000) == paired_bootstrap(gaps, draws=20_000)


def test_false_alarms_are_as_rare_as_they_should_be():
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(300):
        first, second = rng.random((2, 400)) < 0.8
        alarms += paired_bootstrap(first * 1.0 - second, draws=1000)[2] < 0.05
    assert 3 <= alarms <= 30  # 15 expected


def test_holm_example():
    # Holm's steps by hand: 0.005 * 4, max(0.01 * 3, …), 0.03 * 2, max(0.04, 0.06)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("count", [2, 5, 6, 10])
def test_bootstrap_of_few_images_claims_no_more_than_their_signs(count):
    gaps = 0.6 + np.arange(count) / 100
    exact = stats.permutation_test((gaps,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert exact == pytest.approx(2.0 ** (1 - count))
    for some in (gaps, np.append(gaps, np.zeros(3))):
        assert paired_bootstrap(some)[2] >= exact
    assert paired_bootstrap(gaps[:1])[2] == paired_bootstrap(np.zeros(3))[2] == 1


def test_a_difference_that_is_the_same_everywhere_is_no_surer_than_the_number_of_images():
    ours, theirs, images = np.full(2, 0.5), np.full(2, 0.25), {"images": 5, "same_seeds": True}
    low, high, p = over_images_and_seeds(ours, theirs, 0.0, **images)
    assert (low, high) == (0.25, 0.25) and p == 2 / 2**5
    assert over_images_and_seeds(ours, ours, 0.0, **images)[2] == 1
