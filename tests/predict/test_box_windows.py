import time

import numpy as np
import pytest
import torch

from fovea.data.preprocess import Preprocess
from fovea.ops.box_merge import InWindows, merge
from fovea.predict.box_windows import in_whole, in_windows
from helpers.rectangles import PREPROCESSING, Rectangles, photo

PREPROCESS = Preprocess(PREPROCESSING)


def found_in(image, *, window=(100, 100), net=None, **options):
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    options = {"overlap": 0.25, "threshold": 0.3, "whole": False} | options
    return in_windows(net or Rectangles(), x, PREPROCESS, window=window, **options)


@pytest.mark.parametrize("seed", range(12))
def test_each_object_is_found_once_with_its_whole_box_wherever_windows_end(seed):
    """Objects of one class, smaller and larger than what windows share, not overlapping each other."""
    rng = np.random.default_rng(seed)
    size, objects, taken = (int(rng.integers(90, 420)), int(rng.integers(90, 420))), [], np.zeros((420, 420))
    for _ in range(25):
        width, height = rng.integers(4, 85, 2)
        x, y = rng.integers(0, 420, 2)
        label = int(rng.integers(0, 3))
        if (
            x + width > size[1]
            or y + height > size[0]
            or taken[y - 3 : y + height + 3, x - 3 : x + width + 3].any()
        ):
            continue
        taken[y : y + height, x : x + width] = 1
        objects.append((x, y, x + width, y + height, label, int(rng.integers(120, 256))))
    found = found_in(photo(size, objects), threshold=0.3)
    rows = sorted([*map(int, row[:4].round()), int(row[5])] for row in found)
    assert rows == sorted([*map(int, one[:4]), one[4]] for one in objects)
    assert bool((np.diff(found[:, 4]) <= 0).all())


def test_the_whole_image_finds_once_what_windows_hold_and_what_they_do_not():
    objects = [(20, 40, 380, 350, 1, 200), (30, 50, 50, 70, 0, 255), (188, 188, 212, 212, 2, 220)]
    found = found_in(photo((400, 400), objects), whole=True)
    found = found[np.argsort(found[:, 5])]
    assert found[:, 5].tolist() == [0, 1, 2]
    np.testing.assert_allclose(found[:, :4], [objects[1][:4], objects[0][:4], objects[2][:4]], atol=4)


def test_an_object_larger_than_a_window_becomes_one_box():
    objects = [(20, 40, 380, 70, 1, 200), (150, 90, 190, 390, 0, 255)]
    found = found_in(photo((400, 400), objects))
    assert sorted(map(tuple, found[:, :4].round().astype(int).tolist())) == sorted(o[:4] for o in objects)


@pytest.mark.parametrize("size", [(1, 1), (60, 90), (100, 100)])
def test_an_image_no_larger_than_a_window_gives_what_it_does_without(size):
    image = photo(size, [(10, 5, 40, 30, 2, 180)])
    plain = in_whole(Rectangles(), torch.from_numpy(image).permute(2, 0, 1)[None], PREPROCESS)
    for whole in (True, False):
        np.testing.assert_array_equal(found_in(image, whole=whole), plain)


def test_other_shapes_of_windows_and_of_what_training_does_with_aspects():
    objects = [(5, 5, 45, 30, 0, 255), (160, 70, 230, 110, 2, 150)]
    for resize in ("stretch", "pad", "crop"):
        preprocess = Preprocess(
            PREPROCESSING | {"resize": resize, "crop_pct": 0.8 if resize == "crop" else 1.0}
        )
        x = torch.from_numpy(photo((140, 300), objects)).permute(2, 0, 1)[None]
        found = in_windows(
            Rectangles(), x, preprocess, window=(80, 160), overlap=0.5, threshold=0.3, whole=False
        )
        assert len(found) == 2
        np.testing.assert_allclose(found[np.argsort(found[:, 0]), :4], [o[:4] for o in objects], atol=2)


def test_very_many_windows_are_announced(caplog):
    image = photo((110, 110), [(10, 5, 40, 30, 2, 180)])
    with caplog.at_level("WARNING"):
        found_in(image, window=(100, 100), overlap=0.9)
        assert not caplog.text
        found_in(image, window=(9, 9), overlap=0.99)
    assert "10,404 windows in an image of 110 × 110 pixels" in caplog.text


def rows(*found):
    """Return boxes in windows: each (box, score, class, window)."""
    return InWindows(*(np.array(values, dtype=float) for values in zip(*found, strict=True)))


def test_a_part_never_wins_over_the_whole_and_neighbours_in_one_window_stay():
    left, right = (0, 0, 100, 100), (75, 0, 175, 100)
    part, whole = ((60, 10, 100, 50), 0.9, 0, left), ((60, 10, 120, 50), 0.6, 0, right)
    merged = merge(rows(part, whole), size=(100, 175))
    np.testing.assert_allclose(merged, [[60, 10, 120, 50, 0.9, 0]], rtol=1e-6)
    child, parent = ((80, 20, 95, 40), 0.8, 1, left), ((76, 10, 97, 90), 0.7, 1, left)
    again = [((80, 20, 95, 41), 0.5, 1, right), ((76, 10, 97, 91), 0.6, 1, right)]
    assert merge(rows(child, parent, *again), size=(100, 175))[:, 4].tolist() == pytest.approx([0.8, 0.7])
    other = ((62, 10, 119, 50), 0.5, 3, left)
    assert len(merge(rows(whole, other), size=(100, 175))) == 2
    assert len(merge(rows(whole, other), size=(100, 175), across=True)) == 1
    assert merge(rows(whole).take(np.zeros(0, dtype=int)), size=(9, 9)).shape == (0, 6)


@pytest.mark.slow
def test_thousands_of_boxes_merge_in_seconds():
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 5900, (8000, 2))
    boxes = np.concatenate([start, start + rng.uniform(10, 90, (8000, 2))], axis=1)
    windows = np.floor(start / 500) * 500
    found = InWindows(
        boxes, rng.random(8000), rng.integers(0, 5, 8000), np.concatenate([windows, windows + 640], axis=1)
    )
    begin = time.process_time()
    assert 1000 < len(merge(found, size=(6000, 6000))) < 8000
    assert time.process_time() - begin < 10


@pytest.mark.slow
def test_a_large_photo_needs_little_more_memory_than_itself():
    import tracemalloc

    image, net = photo((4000, 6000), [(3000, 1900, 3050, 1960, 0, 255)]), Rectangles()
    tracemalloc.start()
    found = found_in(image, window=(640, 640), net=net)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert net.seen > 90 and len(found) == 1 and most < image.nbytes / 2
    np.testing.assert_allclose(found[0, :4], (3000, 1900, 3050, 1960), atol=7)  # seen at 100 of 640 pixels
