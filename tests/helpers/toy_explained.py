import numpy as np

from fovea.explain.core.class_choice import Asked
from fovea.explain.view.attribution import Explained, Seen

CAT = Asked(0, "cat", 0.75)


def bump(side=32):
    """A smooth map with its peak in the middle."""
    x = np.linspace(-1, 1, side)
    return np.exp(-3 * (x[:, None] ** 2 + x[None] ** 2)).astype(np.float32)


def record(*, id="cat.png", model="net", seen=None, side=32, seed=0, **known):
    picture = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    seen = [Seen(method="grad_cam", asked=CAT, map=bump(side))] if seen is None else seen
    return Explained(model=model, id=id, picture=picture, predicted=CAT, seen=seen, **known)
