"""A data set or a task of one's own is checked by name before anything relies on it."""

import numpy as np
import pytest
from torch import nn

from fovea.config import build
from fovea.data.splits import build_splits
from fovea.errors import UsageError
from helpers import runs


class Good:
    splits = ("all",)

    def __init__(self, *, split):
        self.classes, self.ids = ["a", "b"], [str(i) for i in range(20)]
        self.labels = np.arange(20) % 2

    def __len__(self):
        return 20

    def load(self, index):
        return {"image": np.zeros((4, 4, 3), np.uint8), "label": int(self.labels[index])}


def changed(**attributes):
    """Return a class that is as it should be but for some attributes."""

    class Own(Good):
        def __init__(self, *, split):
            super().__init__(split=split)
            for name, value in attributes.items():
                if value is None:
                    self.__dict__.pop(name, None)
                else:
                    setattr(self, name, value)

    return Own


def split(kind):
    return build_splits(kind, fractions={"val": 0.2, "test": 0.2}, seed=0)


def test_a_good_one_passes():
    assert len(split(Good)["train"]) == 12


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"images": ["a.jpg", "b.jpg"]}, r"Own has a list of 2 str as images.*uint8 \(20, H, W.*paths"),
        ({"images": np.zeros((20, 4, 4, 3))}, r"float64 \(20, 4, 4, 3\) as images"),
        ({"labels": [0, 1] * 10}, r"a list of 20 int as labels, expected an array"),
        ({"labels": np.arange(20)}, r"labels 0 to 19, but 2 classes"),
        ({"ids": ["a"]}, r"as ids, expected a list of 20 names"),
        ({"classes": None, "labels": None, "ids": None}, "lacks classes, ids, labels"),
        ({"classes": "ab"}, r"classes='ab', expected a list of names"),
        ({"targets": ("labl",)}, r"targets=.*expected some of image, label"),
        ({"targets": ("label", "mask")}, r"lacks mask in load\(0\)"),
        ({"groups": [1, 2]}, "as groups, expected one number an image"),
        ({"load": 3}, "3 as load, expected a method"),
        ({"load": lambda i: np.zeros(3)}, r"float64 \(3,\) by load\(0\), expected a dict"),
        ({"load": lambda i: {"image": np.zeros((3, 4, 4)), "label": 0}}, r"float64 \(3, 4, 4\) as image"),
    ],
)  # fmt: skip
def test_what_a_data_set_lacks_is_named(attributes, message):
    with pytest.raises(ValueError, match=message):
        split(changed(**attributes))


def test_a_class_without_splits_is_told_what_to_write():
    with pytest.raises(ValueError, match=r'Good lacks splits.*splits = \("train", "test"\)'):
        split(type("Good", (), {}))


def test_a_task_has_to_be_one(monkeypatch):
    import lightning.pytorch as L

    from fovea.tasks.base import Task
    from fovea.tasks.classification import task

    class Plain(L.LightningModule):
        def __init__(self, **options):
            super().__init__()

    class Silent(Task):
        def __init__(self, **options):
            super().__init__(net=nn.Identity())

    config = runs.compose(["experiment=mlp_digits"])
    for kind, message in (
        (Plain, r"Plain is no fovea\.tasks\.base\.Task and lacks step, finetune"),
        (Silent, r"Silent lacks step\(batch\)"),
    ):
        kind.__module__, kind.__qualname__ = task.__name__, kind.__name__
        monkeypatch.setattr(task, "Classification", kind)
        with pytest.raises(UsageError, match=message):
            build.task(config, nn.Identity())
