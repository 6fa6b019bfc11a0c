import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import precision_recall_fscore_support

from fovea.metrics.macro_f1 import MacroF1
from fovea.page import confusion
from fovea.page.label import drawable
from fovea.runs.answers import most_probable
from fovea.runs.report import write_report
from fovea.tasks.classification import calibration
from fovea.tasks.classification.report import per_class, sections
from helpers.toy_runs import summary


def html_of(parts):
    return "\n".join(section.html() for section in parts).replace("&quot;", '"')


@pytest.mark.parametrize("count", [2, 10, 102])
def test_per_class_equals_sklearn(count):
    rng = np.random.default_rng(count)
    target = rng.integers(0, count - 1, 300)  # the last class has no image
    preds = np.where(rng.random(300) < 0.6, target, rng.integers(0, count, 300))
    scores = per_class(target, preds, count)
    expected = precision_recall_fscore_support(target, preds, labels=range(count), zero_division=np.nan)
    seen = scores.support > 0
    for mine, theirs in zip((scores.precision, scores.recall, scores.f1), expected[:3], strict=True):
        np.testing.assert_allclose(mine[seen], theirs[seen])
        assert np.isnan(mine[~seen]).all()
    np.testing.assert_array_equal(scores.support, expected[3])


def test_a_prediction_outside_the_classes_costs_recall_only():
    target, preds = np.array([0, 0, 1, 1]), np.array([0, -1, 1, 1])
    scores = per_class(target, preds, 2)
    np.testing.assert_allclose(scores.recall, [0.5, 1.0])
    np.testing.assert_allclose(scores.precision, [1.0, 1.0])
    expected = precision_recall_fscore_support(target, preds, labels=[0, 1])
    np.testing.assert_allclose(scores.f1, expected[2])


def test_confusion_matrix_equals_sklearn_and_ranks_mistakes():
    rng = np.random.default_rng(1)
    target, preds = rng.integers(0, 7, 500), rng.integers(0, 7, 500)
    matrix = confusion.confusion_matrix(target, preds, 7)
    np.testing.assert_array_equal(matrix, sklearn_confusion(target, preds, labels=range(7)))
    pairs = confusion.most_confused(matrix, limit=5)
    off = np.sort(matrix[~np.eye(7, dtype=bool)])[::-1][:5]
    assert [pair[2] for pair in pairs] == off.tolist()
    assert all(share == pytest.approx(matrix[t, p] / (target == t).sum()) for t, p, _, share in pairs)
    assert confusion.most_confused(np.diag([3, 4])) == []


@pytest.mark.parametrize("count", [2, 10, 15, 16, 102])
def test_confusion_figure_is_drawn_for_any_number_of_classes(tmp_path, count):
    names = ["<script>", "$a$ b$", "猫"][:count] + [f"class {i}" for i in range(3, count)]
    matrix = np.eye(count, dtype=np.int64)[:, ::-1] * 7
    with Image.open(confusion.draw(matrix, names[:count], tmp_path / "a" / "c.png")) as picture:
        assert picture.width < 1500 and picture.convert("L").getextrema()[0] < 60


def test_sections_show_undefined_scores_as_a_dash(make_run):
    run = make_run(record=summary())
    html = "\n".join(section.html() for section in sections(run))
    assert "<tr><td>猫</td>" + 3 * "<td class=num>–</td>" + "<td class=num>0</td>" in html
    assert (run / "figures" / "confusion_matrix.png").exists()
    assert "<script" not in html


def test_the_mean_f1_of_the_page_is_that_of_the_metric_where_a_class_is_predicted_alone(make_run):
    target, preds = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 2, 1, 1, 0, 0])
    run = make_run(record=summary())
    np.savez(run / "predictions" / "test.npz", ids=target.astype(str), target=target, probs=np.eye(3)[preds])
    metric = MacroF1(num_classes=3)
    metric.update(torch.eye(3)[preds], torch.from_numpy(target))
    html = "\n".join(section.html() for section in sections(run))
    assert f"over the 3 classes that are true or predicted: {float(metric.compute()):.3f}." in html


@pytest.mark.parametrize(("target", "said"), [([0, 1, 2], "any one of the 3"), ([0, 1, 1, 2], "“cat")])
def test_the_most_frequent_class_is_named_where_there_is_one(make_run, target, said):
    run = make_run(record=summary())
    ids = np.array([str(i) for i in target])
    np.savez(run / "predictions" / "test.npz", ids=ids, target=target, probs=np.eye(3)[target])
    assert f"Always predicting {said}" in html_of(sections(run))


def test_no_predictions_no_sections(make_run):
    assert sections(make_run(test=False)) == []


def test_a_file_cut_off_is_said(make_run):
    run = make_run(record=summary())
    path = run / "predictions" / "test.npz"
    path.write_bytes(path.read_bytes()[:300])
    page = write_report(run, sections, calibration.sections).read_text(encoding="utf-8")
    assert page.count("test.npz cannot be read") == 1 and "could not be made" not in page


def test_what_numpy_says_of_odd_predictions_is_no_sentence_of_its_own(make_run):
    run = make_run(record=summary())
    path = run / "predictions" / "test.npz"
    np.savez(path, ids=np.array(["a", "b"]), target=np.array([0, 9]), probs=np.eye(2, dtype=np.float32))
    page = write_report(run, sections).read_text(encoding="utf-8")
    assert "could not be made: ValueError" in page or "could not be made: IndexError" in page


def test_nan_probabilities_count_as_wrong(make_run):
    run = make_run(record=summary())
    probs, target = np.full((4, 3), np.nan, np.float32), np.array([0, 1, 2, 2])
    probs[0] = [0.8, 0.1, 0.1]
    np.savez(run / "predictions" / "test.npz", ids=np.array(list("abcd")), target=target, probs=probs)
    html = sections(run)[0].html()
    assert most_probable({"probs": probs})[0].tolist() == [0, -1, -1, -1]
    assert "1 of 4 test images" in html and "3 predictions are NaN" in html


def test_an_empty_test_set_is_said(make_run):
    run = make_run()
    np.savez(
        run / "predictions" / "test.npz",
        ids=np.array([], "U1"),
        target=np.zeros(0, int),
        probs=np.zeros((0, 3)),
    )
    assert "no images" in sections(run)[0].html()


def test_many_classes_fold_and_show_the_weakest(make_run):
    run = make_run(record=None)
    target = np.repeat(np.arange(30), 4)
    preds = np.where(target == 17, 3, target)
    np.savez(
        run / "predictions" / "test.npz",
        ids=target.astype(str),
        target=target,
        probs=np.eye(30, dtype=np.float32)[preds],
    )
    html = next(section.html() for section in sections(run) if section.title == "Scores per class")
    first = html.split("<tbody>\n")[1]
    assert first.startswith("<tr><td>17</td><td class=num>–</td><td class=num>0.000</td>")
    assert "<details>" in html


def test_characters_without_a_glyph_are_spelled():
    assert drawable("Übergröße Ελλάδα ✓") == "Übergröße Ελλάδα ✓"
    assert drawable("猫") == "\\u732b" and drawable("a\nb") == "a\\nb"
    assert drawable("\udcff") == "\\udcff"
