import pytest
import torch

from fovea.ops.gram import gram


@pytest.mark.parametrize("shape", [(2, 5, 7), (1, 3, 4, 6)])
def test_equals_a_plain_sum_over_positions(shape):
    features = torch.randn(*shape)
    flat = features.flatten(2)
    expected = torch.einsum("bin,bjn->bij", flat, flat) / flat.shape[2]
    torch.testing.assert_close(gram(features), expected)


def test_forgets_where_things_are():
    features = torch.randn(2, 5, 30, dtype=torch.float64)
    torch.testing.assert_close(gram(features[:, :, torch.randperm(30)]), gram(features))


def test_does_not_depend_on_the_number_of_positions():
    features = torch.randn(1, 4, 6, 5)
    torch.testing.assert_close(gram(features.repeat(1, 1, 2, 3)), gram(features))


def test_forgets_no_channel():
    features = torch.randn(1, 4, 50)
    swapped = features[:, [1, 0, 2, 3]]
    torch.testing.assert_close(gram(swapped), gram(features)[:, [1, 0, 2, 3]][:, :, [1, 0, 2, 3]])
    assert not torch.allclose(gram(swapped), gram(features))
