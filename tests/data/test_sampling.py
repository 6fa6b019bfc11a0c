import numpy as np
import pytest

from fovea.data.sampling import EvalBatches, TrainBatches, fitted_batch_size, permutation


def indices(batches):
    return [i for batch in batches for _, i in batch]


def epochs(batches):
    return {epoch for batch in batches for epoch, _ in batch}


def test_an_epoch_visits_every_image_once():
    sampler = TrainBatches(size=120, batch_size=8, seed=0)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 15 and all(len(batch) == 8 for batch in batches)
    assert sorted(indices(batches)) == list(range(120)) and indices(batches) != list(range(120))


def test_order_follows_seed_and_epoch_and_repeats():
    def order(seed, epoch):
        sampler = TrainBatches(size=64, batch_size=8, seed=seed)
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert epochs(batches) == {epoch}
        return indices(batches)

    orders = {(s, e): order(s, e) for s in (0, 1) for e in (0, 1, 2)}
    assert len({tuple(o) for o in orders.values()}) == 6
    assert order(0, 2) == orders[0, 2]


def test_leftovers_are_dropped_and_differ_between_epochs():
    sampler = TrainBatches(size=21, batch_size=4, seed=0)
    dropped = []
    for epoch in range(12):
        sampler.set_epoch(epoch)
        seen = indices(sampler)
        assert len(seen) == len(set(seen)) == 20
        dropped += set(range(21)) - set(seen)
    assert len(set(dropped)) > 4


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [24, 96, 100])
def test_ranks_are_disjoint_with_equally_many_batches(world, size):
    ranks = [TrainBatches(size=size, batch_size=4, seed=5, rank=r, world=world) for r in range(world)]
    batches = [list(sampler) for sampler in ranks]
    assert len({len(b) for b in batches}) == 1 and len(batches[0]) == len(ranks[0]) == size // (4 * world)
    seen = [i for b in batches for i in indices(b)]
    assert len(seen) == len(set(seen))
    if size % (4 * world) == 0:
        assert sorted(seen) == list(range(size))


def test_a_global_batch_is_the_same_on_any_number_of_ranks():
    single = [sorted(i for _, i in batch) for batch in TrainBatches(size=100, batch_size=12, seed=0)]
    for world in (2, 3):
        ranks = [
            TrainBatches(size=100, batch_size=12 // world, seed=0, rank=r, world=world) for r in range(world)
        ]
        joint = [sorted(i for batch in step for _, i in batch) for step in zip(*ranks, strict=True)]
        assert joint == single


def test_less_than_one_batch_gives_one_smaller_batch():
    assert [len(batch) for batch in TrainBatches(size=5, batch_size=8, seed=0)] == [5]
    ranks = [list(TrainBatches(size=11, batch_size=8, seed=0, rank=r, world=2)) for r in range(2)]
    assert [[len(batch) for batch in batches] for batches in ranks] == [[5], [5]]


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [7, 10, 64])
def test_evaluation_is_exact(world, size):
    ranks = [list(EvalBatches(size=size, batch_size=4, rank=r, world=world)) for r in range(world)]
    assert sorted(i for batches in ranks for i in indices(batches)) == list(range(size))
    for rank, batches in enumerate(ranks):
        assert len(batches) == len(EvalBatches(size=size, batch_size=4, rank=rank, world=world))
    if world == 1:
        assert indices(ranks[0]) == list(range(size))


def test_fewer_images_than_devices_are_refused():
    with pytest.raises(ValueError, match=r"\b3 .*\b4 devices"):
        EvalBatches(size=3, batch_size=4, world=4)
    with pytest.raises(ValueError, match="3 training images"):
        TrainBatches(size=3, batch_size=4, seed=0, world=4)


def test_permutations_are_uniform():
    firsts = np.bincount([permutation(8, seed=0, epoch=e)[0] for e in range(4000)], minlength=8)
    chi2 = ((firsts - 500) ** 2 / 500).sum()
    assert chi2 < 30  # 7 degrees of freedom: one in ten thousand is above 30


def test_overfitting_asks_for_the_same_order_every_epoch():
    sampler = TrainBatches(size=10, batch_size=5, seed=0, shuffle=False)
    order = indices(sampler)
    assert sorted(order) == list(range(10)) != order  # sorted data would give batches of one class
    for epoch in (0, 3):
        sampler.set_epoch(epoch)
        assert indices(sampler) == order and epochs(sampler) == {epoch}


@pytest.mark.parametrize(
    ("size", "processes", "fits"), [(70, 1, 64), (70, 2, 32), (15, 2, 4), (2, 2, 1), (128, 2, 64)]
)
def test_a_batch_is_lowered_to_the_share_of_a_process(size, processes, fits):
    found = fitted_batch_size(size, batch_size=64, name="toy", reduced=True, processes=processes)
    assert found == fits
    batches = TrainBatches(size=size, batch_size=found, seed=0, world=processes)
    assert batches.batch_size == found and len(batches) >= 1


def test_a_batch_that_no_process_fills_is_refused_with_one_that_fits():
    with pytest.raises(ValueError, match=r"data.batch_size=64 .*35 .*2 processes.*data.batch_size=32"):
        fitted_batch_size(70, batch_size=64, name="toy", reduced=False, processes=2)
