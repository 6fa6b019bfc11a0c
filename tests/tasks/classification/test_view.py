import numpy as np
import pytest
import torch

from fovea.tasks.classification.view import ClassView

CLASSES = ["cat", "dog", "owl"]


@pytest.fixture
def view():
    return ClassView(classes=CLASSES)


def measured(view):
    logits = torch.tensor([[4.0, 0, 0], [0, 3, 0], [0, 5, 0], [float("nan"), 0, 0]])
    return view.measure({"preds": logits, "target": torch.tensor([0, 0, 1, 0])}, {})


def test_an_image_scores_by_its_most_probable_class(view):
    found = measured(view)
    assert found.rows["score"].tolist() == [1, 0, 1, 0]
    torch.testing.assert_close(found.rows["tie_break"][:3], found.rows["probs"][[0, 1, 2], [0, 0, 1]])


def test_only_errors_are_shown_and_by_their_confidence(view):
    found = measured(view)
    rank = found.ranks["mistakes"]
    assert rank.isnan().tolist() == [True, False, True, True]
    assert rank[1] == found.rows["probs"][1, 1]


def test_answers_are_written_and_said(view):
    answer = view.decode(np.log([0.2, 0.7, 0.1], dtype=np.float32), np.zeros((2, 2, 3), np.uint8))
    np.testing.assert_allclose(answer, [0.2, 0.7, 0.1], rtol=1e-6)
    row = view.row(answer, 0)
    assert list(row) == view.columns and (row["predicted"], row["true"], row["correct"]) == (
        "dog",
        "cat",
        False,
    )
    assert (row["top2"], row["top3"]) == ("cat", "owl")
    assert view.row(answer)["correct"] is None
    assert view.lines(answer) == view.lines(answer, 1) == ["dog  0.700"]
    assert view.lines(answer, 0) == ["dog  0.700", "true: cat"]


def test_equal_probabilities_name_the_first_class():
    assert ClassView(classes=CLASSES, top_k=1).row(np.array([0.4, 0.4, 0.2]))["predicted"] == "cat"


def test_a_class_is_explained_by_its_logit(view):
    (best,) = view.selector(target="owl").select(torch.tensor([[2.0, 1, 0]]), torch.tensor([-1]))[0]
    assert best.name == "owl"
    with pytest.raises(ValueError, match="target=fox"):
        view.selector(target="fox")


def test_models_that_differ_are_said(view):
    bad = {"probs": np.array([0.1, 0.2, 0.7]), "target": 0}
    assert view.differ({"probs": np.eye(3)[0], "target": 0}, bad) == ["true: cat", "predicted as owl, 0.70"]
    assert view.differ(bad, bad | {"probs": np.full(3, np.nan)})[1] == "predicted as nothing"
