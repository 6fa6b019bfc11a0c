"""Published data sets are found in data.root, as data.root, around it and one level below, in any case."""

from functools import cache

import pytest

from fovea.config.build import make
from fovea.data.formats.home import find_home
from fovea.data.splits import official_splits
from helpers import formats_boxes, formats_labels, formats_masks, runs

WRITERS = {**formats_labels.WRITERS, **formats_masks.WRITERS, **formats_boxes.WRITERS}


OWN = ("folder", "csv", "photos", "mask_folder", "cat_breeds")  # whose root is the data
PUBLISHED = sorted({*WRITERS} - {*OWN})


@cache
def composed(name):
    return runs.compose([f"data={name}", "data.subset=true"])


def ids(name, root):
    """Return the names of the images of every split, found below a root."""
    config = composed(name).copy()
    config.data.dataset.root = str(root)
    return {split: list(opened().ids) for split, opened in official_splits(make(config.data.dataset)).items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_set_is_found_where_people_have_it(tmp_path, name):
    root = tmp_path / "files" / "root"
    root.mkdir(parents=True)
    WRITERS[name](root)
    expected = ids(name, root)
    (home,) = [path for path in root.iterdir() if path.is_dir()]
    assert ids(name, home) == expected
    assert ids(name, root.parent) == expected
    inner = next(path for path in sorted(home.iterdir()) if path.is_dir() or home)
    if inner.is_dir():
        assert ids(name, inner) == expected
    other = home.rename(root / home.name.swapcase().replace("-", "_"))
    for place in (root, other, root.parent):
        assert ids(name, place) == expected
    nested = root / "Again" / home.name.upper()
    nested.parent.mkdir()
    other.rename(nested)
    assert ids(name, nested.parent) == ids(name, root) == expected


def test_sets_with_the_same_files_are_told_apart_by_their_folder(tmp_path):
    WRITERS["mnist"](tmp_path)
    with pytest.raises(FileNotFoundError, match="Fashion"):
        ids("fashion_mnist", tmp_path / "MNIST")


def test_nothing_is_found_where_nothing_is(tmp_path):
    assert find_home(tmp_path / "nowhere", ("MNIST",)) == tmp_path / "nowhere" / "MNIST"
    (tmp_path / "root").mkdir()
    assert find_home(tmp_path / "root", ("MNIST",)) == tmp_path / "root" / "MNIST"
