import numpy as np
import pytest
import torch
from skimage import data, feature

from fovea.ops.hog import hog, hog_shape


@pytest.mark.parametrize(("cell", "block", "bins"), [(8, 2, 9), (6, 3, 4), (5, 1, 12)])
def test_blocks_equal_those_of_scikit_image(cell, block, bins):
    photo = data.astronaut()[40:111, 150:247].astype(np.float64) @ [0.299, 0.587, 0.114] / 255  # (71, 97)
    wanted = feature.hog(photo, bins, (cell, cell), (block, block), "L2-Hys", feature_vector=False)
    found = hog(torch.from_numpy(photo)[None, None], cell=cell, block=block, bins=bins)[0]
    wanted = torch.from_numpy(wanted).flatten(2).permute(2, 0, 1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_window_has_the_blocks_of_its_place_and_gradients_are_finite_where_it_is_flat():
    torch.manual_seed(0)
    image = torch.rand(2, 1, 48, 64)
    image[1, :, :, :40] = 0.5
    image.requires_grad_()
    blocks = hog(image)
    assert tuple(hog(image[:, :, :32, :32])[0].shape) == hog_shape(32) == (36, 3, 3)
    inner = hog(image[:, :, 8:40, 16:48])[:, :, 1:2, 1:2]  # what touches no edge
    torch.testing.assert_close(inner, blocks[:, :, 2:3, 3:4])
    blocks.sum().backward()
    assert bool(image.grad.isfinite().all()) and bool(image.grad.any())
