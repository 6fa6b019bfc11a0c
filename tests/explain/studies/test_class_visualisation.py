import numpy as np
import pytest
import torch

from fovea.explain.studies.class_visualisation import ClassVisualisationStudy
from helpers.inner_nets import untouched
from helpers.toy_inside import read_csv, repeats, toy_subject

pytestmark = pytest.mark.slow
QUICK = {"steps": 12, "keep": 3, "scales": (0.7, 1.4)}


@pytest.mark.parametrize("name", ["cnn", "vit"])
def test_the_scores_of_named_classes_rise(tmp_path, name):
    subject = toy_subject(name)
    with untouched(subject.net):
        ClassVisualisationStudy(classes=["class 3", 1, "class 0"], jitter=0, **QUICK)(subject, tmp_path)
    rows = read_csv(tmp_path / "classes.csv")
    assert [row["class"] for row in rows[::3]] == ["class 3", "class 1", "class 0"]
    assert [row["step"] for row in rows[:3]] == ["0", "6", "12"]
    for first, last in zip(rows[::3], rows[2::3], strict=True):
        assert float(last["logit"]) > float(first["logit"])
    picture = torch.from_numpy(np.load(tmp_path / "classes.npy"))
    assert picture.shape == (3, 3, 16, 16) and picture.min() >= 0 and picture.max() <= 1
    with torch.no_grad():  # what the table says is what the net says of the pictures
        logits = subject.net(subject.pixels.encode(picture))
    assert float(rows[2]["logit"]) == pytest.approx(logits[0, 3].item(), abs=1e-3)


def test_without_names_the_predicted_classes_are_drawn(tmp_path):
    subject = toy_subject()
    with torch.no_grad():
        predicted = subject.net(subject.load(range(5)).image).argmax(1).bincount(minlength=5)
    ClassVisualisationStudy(limit=2, **QUICK)(subject, tmp_path)
    found = [int(row["class"].split()[1]) for row in read_csv(tmp_path / "classes.csv")][::3]
    assert found == [int(c) for c in predicted.argsort(descending=True, stable=True) if predicted[c]][:2]


def test_a_seed_repeats_and_a_wrong_name_is_refused(tmp_path):
    subject = toy_subject()
    assert repeats(ClassVisualisationStudy(classes=4, **QUICK), subject, tmp_path)
    with untouched(subject.net), pytest.raises(ValueError, match="class 3"):
        ClassVisualisationStudy(classes="klass 3")(subject, tmp_path)
    with pytest.raises(ValueError, match="not one class"):
        ClassVisualisationStudy(classes="predicted")(subject, tmp_path)
