import numpy as np
import pytest
import torch

from fovea.runs.answers import ALL, TOP, most_probable, names_in, read_answers
from fovea.tasks.classification.calibration import sections as calibration
from fovea.tasks.classification.report import sections
from fovea.tasks.classification.view import ClassView


def rows_of(logits, target, classes):
    found = ClassView(classes=classes).measure({"preds": logits, "target": target}, {})
    return {key: value.numpy() for key, value in found.rows.items()}


@pytest.mark.parametrize("count", [ALL, ALL + 1])
def test_of_many_classes_the_first_are_kept_and_every_reader_gets_the_same(count, make_run):
    classes = [f"c{i}" for i in range(count)]
    logits, target = torch.randn(50, count) * 3, torch.randint(count, (50,))
    logits[range(25), target[:25]] += 20
    logits[40] = torch.nan
    rows = rows_of(logits, target, classes)
    width = sum(value.size for value in rows.values()) // 50
    assert width == (3 + count if count <= ALL else 3 + 2 * TOP)
    predicted, confidence = most_probable(rows)
    probs = logits.softmax(1).max(1)
    kept = np.arange(50) != 40
    assert predicted[40] == -1 and np.array_equal(predicted[kept], probs.indices.numpy()[kept])
    np.testing.assert_allclose(confidence[kept], probs.values.numpy()[kept])
    assert names_in(rows, classes) == classes and names_in(rows, [])[:2] == ["0", "1"]
    view, right = ClassView(classes=classes), int(rows["score"].sum())
    lines = view.per_class(rows)
    assert sum(line["correct"] for line in lines) == right and len(lines) == count
    said = view.differ({"target": target[0]}, {key: value[0] for key, value in rows.items()})
    assert said[1].startswith(f"predicted as c{int(target[0])}")

    run = make_run(record={"data": {"classes": classes}}, test=False)
    np.savez(run / "predictions" / "test.npz", ids=np.arange(50).astype(str), **rows)
    assert read_answers(run, classes).classes == classes
    html = "".join(section.html() for section in [*sections(run), *calibration(run)])
    assert f"{right} of 50 test images" in html and "1 predictions are NaN" in html
    assert "Reliability diagram" in html
