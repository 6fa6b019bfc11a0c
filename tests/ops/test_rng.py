import numpy as np
import pytest

from fovea.ops import rng

INDEX = np.arange(4096)


def test_rows_depend_on_their_own_index_only():
    whole = rng.uniform(3, 7, INDEX, n=5)
    picked = np.array([4000, 1, 17, 1])
    assert np.array_equal(rng.uniform(3, 7, picked, n=5), whole[picked])


@pytest.mark.parametrize("other", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0)])
def test_seed_epoch_and_stream_each_change_every_row(other):
    seed, epoch, stream = other
    first, second = rng.bits(0, 0, INDEX, n=1), rng.bits(seed, epoch, INDEX, n=1, stream=stream)
    assert (first != second).all()


def test_more_numbers_extend_the_fewer():
    assert np.array_equal(rng.bits(0, 0, INDEX, n=8)[:, :3], rng.bits(0, 0, INDEX, n=3))


def test_no_two_of_many_words_collide():
    words = np.concatenate([rng.bits(s, e, INDEX, n=4).ravel() for s in range(3) for e in range(3)])
    assert len(np.unique(words)) == len(words)


def test_uniform_fills_the_unit_interval_evenly_and_independently():
    draws = rng.uniform(0, 0, np.arange(20_000), n=2)
    assert draws.min() >= 0 and draws.max() < 1
    counts, _, _ = np.histogram2d(draws[:, 0], draws[:, 1], bins=10)
    chi2 = ((counts - 200) ** 2 / 200).sum()
    assert 45 < chi2 < 180  # 99 degrees of freedom: mean 99, standard deviation 14


def test_every_bit_is_set_half_of_the_time():
    words = rng.bits(0, 0, np.arange(20_000), n=1)[:, 0]
    share = np.array([((words >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(64)])
    assert np.abs(share - 0.5).max() < 5 * 0.5 / np.sqrt(20_000)


def test_seed_for_is_a_63_bit_integer_that_other_generators_take():
    seeds = {rng.seed_for(seed, epoch, index) for seed in (0, 1) for epoch in (0, 1) for index in (0, 1)}
    assert len(seeds) == 8 and all(0 <= seed < 2**63 for seed in seeds)
