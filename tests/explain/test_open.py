from torch import nn

from fovea.explain import open as explain_models
from fovea.explain.core.class_choice import LogitSelector
from fovea.explain.core.model import OpenedModel


def opened(name, source):
    return OpenedModel(
        name=name, net=nn.Identity(), classes=[], preprocessing={}, source=source, selector=LogitSelector
    )


def test_models_of_one_name_are_distinguished():
    models = [opened("vit", "logs/s/0"), opened("vit", "logs/s/1"), opened("a/b", "x"), opened("vit", "t/1")]
    names = explain_models._unique(models)
    assert names[0] == "vit_0" and names[2] == "a_b"
    assert len(set(names)) == 4 and not any("/" in name for name in names)
