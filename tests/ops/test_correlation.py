import cv2
import numpy as np
import torch
from skimage import data

from fovea.ops.correlation import correlate, normalised


def test_coefficients_equal_those_of_opencv_and_do_not_see_brightness_and_contrast():
    photo = cv2.cvtColor(data.astronaut()[:150, 100:280], cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    template = photo[50:74, 60:90]
    wanted = cv2.matchTemplate(photo, template, cv2.TM_CCOEFF_NORMED)
    image = torch.from_numpy(photo)[None, None]
    found = correlate(torch.cat([image, 0.4 * image + 0.5]), torch.from_numpy(template)[None, None])
    assert found.shape == (2, 1, 127, 151)
    np.testing.assert_allclose(found[0, 0], wanted, atol=2e-3)
    torch.testing.assert_close(found[1], found[0], atol=5e-3, rtol=0)
    assert divmod(int(found[0, 0].argmax()), 151) == (50, 60)


def test_where_nothing_is_to_be_seen_nothing_correlates():
    flat = torch.full((1, 1, 9, 9), 0.7)
    assert not bool(normalised(flat).any())
    assert not bool(correlate(torch.rand(1, 1, 20, 20), flat).any())
    assert not bool(correlate(flat, torch.rand(2, 1, 4, 4)).any())
