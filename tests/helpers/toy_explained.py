import numpy as np

from fovea.explain.core.class_choice import SelectedClass
from fovea.explain.view.attribution import Attribution, ImageAttributions

CAT = SelectedClass(0, "cat", 0.75)


def bump(side=32):
    """A smooth map with its maximum in the middle."""
    x = np.linspace(-1, 1, side)
    return np.exp(-3 * (x[:, None] ** 2 + x[None] ** 2)).astype(np.float32)


def record(*, id="cat.png", model="net", attributions=None, side=32, seed=0, **known):
    picture = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    if attributions is None:
        attributions = [Attribution(method="grad_cam", selected=CAT, map=bump(side))]
    return ImageAttributions(
        model=model, id=id, picture=picture, predicted=CAT, attributions=attributions, **known
    )
