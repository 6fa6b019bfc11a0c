import numpy as np
import pytest

from fovea.metrics.ap_bootstrap import interval, resampled_precision, resamples
from fovea.metrics.average_precision import PROTOCOLS, average_precision
from fovea.ops.box_pairs import Boxes
from helpers.random_boxes import random_boxes


def ranked_boxes(seed, **options):
    """Return random boxes, no two with the same score: the order of equal ones is that of the images."""
    found, true = random_boxes(seed, **options)
    scores = np.random.default_rng(seed).permutation(len(found.score)) + 1
    return found._replace(score=scores / len(scores)), true


def drawn(boxes, images):
    """Return the boxes of these images, each as often as it is drawn, under numbers of their own."""
    rows = [np.flatnonzero(boxes.image == i) for i in images]
    numbers = np.repeat(np.arange(len(images)), [len(r) for r in rows])
    return boxes.take(np.concatenate([np.zeros(0, int), *rows]))._replace(image=numbers)


@pytest.mark.parametrize("protocol", list(PROTOCOLS.values()))
@pytest.mark.parametrize("seed", [0, 5])
def test_counted_images_give_what_the_images_themselves_give(protocol, seed):
    found, true = ranked_boxes(seed, images=25, classes=4, most=6)
    counts = resamples(25, draws=9, seed=seed)
    assert (counts.sum(axis=0) == 25).all()
    ours = resampled_precision(found, true, counts, num_classes=4, protocol=protocol)
    for draw, column in enumerate(counts.T.astype(int)):
        images = np.repeat(np.arange(25), column)
        again = average_precision(drawn(found, images), drawn(true, images), num_classes=4, protocol=protocol)
        known = again.objects[0] > 0
        np.testing.assert_allclose(ours[:, draw], again.ap[0][:, known].mean(axis=1), atol=1e-6)


def test_all_images_once_give_the_figure_itself_and_chosen_overlaps_only_those():
    found, true = ranked_boxes(2, images=40, classes=3, most=5)
    once = np.ones((40, 1), np.float32)
    rule = PROTOCOLS["coco"]
    ours = resampled_precision(found, true, once, num_classes=3, protocol=rule)
    wanted = average_precision(found, true, num_classes=3, protocol=rule)
    np.testing.assert_allclose(ours[:, 0], np.nanmean(wanted.ap[0], axis=1), atol=1e-6)
    one = resampled_precision(found, true, once, num_classes=3, protocol=rule, thresholds=(0.75,))
    np.testing.assert_allclose(one[0], ours[5], atol=1e-6)


def test_draws_are_those_of_the_seed_and_what_is_not_there_is_no_number():
    np.testing.assert_array_equal(resamples(7, draws=5), resamples(7, draws=5))
    assert (resamples(7, draws=5) != resamples(7, draws=5, seed=1)).any()
    none = Boxes(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0), np.zeros(0, bool))
    _, true = random_boxes(0, images=6, classes=2, most=4)
    counts, options = resamples(6, draws=20), {"num_classes": 2, "protocol": PROTOCOLS["coco"]}
    missed = resampled_precision(none, true, counts, **options)
    assert interval(missed[0], 0.0) == (0.0, 0.0)
    assert np.isnan(interval(resampled_precision(none, none, counts, **options)[0], np.nan)).all()


def test_an_interval_lies_about_the_figure_although_draws_are_biased():
    """Also where nearly all draws lie above the figure, which percentiles alone would miss."""
    rng = np.random.default_rng(0)
    low, high = interval(rng.normal(0.5, 0.1, 4000), 0.5)
    assert low == pytest.approx(0.5 - 0.196, abs=0.01) and high == pytest.approx(0.5 + 0.196, abs=0.01)
    low, high = interval(rng.normal(0.55, 0.02, 4000), 0.5)
    assert 0.45 < low < high < 0.53
