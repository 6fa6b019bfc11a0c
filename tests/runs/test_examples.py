import numpy as np
import pytest
from PIL import Image

from fovea.runs.examples import sections
from fovea.runs.read import read_run
from fovea.tasks.classification.view import ClassView
from helpers.toy_runs import summary


def test_kept_images_are_shown_with_answer_and_truth(make_run):
    run = make_run(record=summary())
    (section,) = sections(read_run(run), ClassView)
    html = section.html()
    assert section.title == "Most confident errors" and html.count('<figure title="img/') == 5
    assert "true: &lt;script&gt;" in html and "<script" not in html
    with Image.open(run / "figures" / "mistakes.png") as figure:
        assert figure.width > 500


def test_a_run_without_examples_or_with_damaged_ones_says_so(make_run):
    assert sections(read_run(make_run(name="none", test=False)), ClassView) == []
    run = make_run(record=summary())
    path = run / "predictions" / "examples.npz"
    arrays = dict(np.load(path))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"examples\.npz cannot be read"):
        sections(read_run(run), ClassView)
    np.savez(path, **{key: values[:0] if values.ndim else values for key, values in arrays.items()})
    assert sections(read_run(run), ClassView) == []  # a gallery without images
