import pytest
import torch

from fovea.explain.core.class_choice import LogitSelector
from fovea.explain.core.targets import ClassScore

CLASSES = ["tench, Tinca tinca", "tabby, tabby cat", "Egyptian cat", "crane", "crane"]
LOGITS = torch.tensor([[0.0, 3.0, 1.0, 2.0, -1.0], [5.0, 0.0, 1.0, 2.0, 3.0]])
UNKNOWN = torch.tensor([-1, -1])


def labels(target, known=UNKNOWN):
    asked = LogitSelector(classes=CLASSES, target=target).select(LOGITS, known)
    return [[a.label for a in row] for row in asked]


def test_what_is_asked():
    assert labels("predicted") == [[1], [0]]
    assert labels("top-3") == [[1, 3, 2], [0, 4, 3]]
    assert labels("top-99") == [[1, 3, 2, 0, 4], [0, 4, 3, 2, 1]]
    assert labels("true", torch.tensor([2, -1])) == [[2], []]
    assert labels("Egyptian cat") == labels("egyptian CAT") == labels(2) == labels("2") == [[2], [2]]
    assert labels("tabby") == labels("tabby cat") == [[1], [1]]


def test_names_and_probabilities():
    selector = LogitSelector(classes=CLASSES[:2])
    best = selector.predicted(LOGITS)
    assert [a.name for a in best] == ["tabby, tabby cat", "tench, Tinca tinca"]
    assert best[0].probability == pytest.approx(float(LOGITS.softmax(1)[0, 1]))
    assert torch.equal(selector.target(best)(LOGITS), ClassScore([1, 0])(LOGITS))


def test_a_class_named_by_a_number_comes_before_the_index():
    assert LogitSelector(classes=["1", "2", "0"], target=1).index == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tabbi", r"target=tabbi .*'tabby, tabby cat'.*top-3"),
        ("cat", r"nearest: 'tabby, tabby cat', 'Egyptian cat'"),
        ("crane", r"2 classes: .*target=3 or 4"),
        (5, r" 0 to 4"),
        ("top-0", r"top-0.*top-1"),
    ],
)
def test_a_class_that_is_not_there(target, message):
    with pytest.raises(ValueError, match=message):
        LogitSelector(classes=CLASSES, target=target)


def test_a_misspelt_part_of_a_name_finds_the_class():
    with pytest.raises(ValueError, match=r"nearest: 'tabby, tabby cat'"):
        LogitSelector(classes=["tub, vat", "tabby, tabby cat", "tractor"], target="tabi_cat")
