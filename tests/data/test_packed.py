import numpy as np
import pytest

from fovea.data.packed import Dense, Paths, Ragged, Rasters, Strings


def test_strings_come_back_as_they_were():
    texts = ["", "abc", "Füße/日本語.jpg", "x" * 5000, "raw\udcff.png"]
    packed = Strings(texts)
    assert (
        list(packed) == texts and packed[1:3] == texts[1:3] and packed[-1] == texts[-1] and len(packed) == 5
    )
    for index in (5, -6):
        with pytest.raises(IndexError):
            packed[index]


def test_paths_are_below_their_folder(tmp_path):
    paths = Paths(tmp_path, ["a/b.jpg", "ä.png"])
    assert paths[0] == tmp_path / "a" / "b.jpg" and paths[:2][1] == tmp_path / "ä.png"


def test_ragged_arrays_come_back_and_are_taken_together():
    rng = np.random.default_rng(0)
    arrays = [rng.random((n, 4)).astype(np.float32) for n in (2, 0, 3, 1)]
    packed = Ragged(arrays, shape=(4,))
    assert all(np.array_equal(packed[i], array) for i, array in enumerate(arrays))
    values, batch_index = packed.take(np.array([2, 1, 0, 2]))
    assert np.array_equal(values, np.concatenate([arrays[i] for i in (2, 1, 0, 2)]))
    assert batch_index.tolist() == [0, 0, 0, 2, 2, 3, 3, 3]
    assert Ragged([], shape=(4,)).take(np.zeros(0, dtype=int))[0].shape == (0, 4)


def test_pixels_of_any_size_come_back():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (3 + i % 5, 4 + i % 7, 3)).astype(np.uint8) for i in range(300)]
    packed = Rasters()
    packed.extend(arrays[: Rasters.BLOCK])
    packed.extend(arrays[Rasters.BLOCK :])
    assert len(packed) == 300 and all(np.array_equal(packed[i], array) for i, array in enumerate(arrays))
    same = [array[:3, :4] for array in arrays]
    dense = Dense(300, same[0])
    dense.extend(same[:100])
    dense.extend([np.zeros((0, 0, 0), np.uint8), *same[101:]])
    assert np.array_equal(dense[299], same[299]) and not dense[100].any()
